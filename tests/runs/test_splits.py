"""Splits of a command: loaded once for equal data."""

import dataclasses

import numpy as np
import pytest

from darkrank_jax.config.reader import read_run
from darkrank_jax.data import SOURCES, Split
from darkrank_jax.errors import UserError
from darkrank_jax.runs.splits import Splits
from tests import tiny_config


def test_equal_data_is_loaded_once_and_other_data_again(monkeypatch):
    asked = []

    def counted(*, path, image_size, **options):
        asked.append((image_size, options))
        image = np.zeros((1, *image_size, 1), np.uint8)
        return {"train": Split(image, np.zeros(1, np.int32), ("a",))}

    monkeypatch.setitem(SOURCES, "counted", counted)
    data = read_run(tiny_config.get_config().to_dict()).data
    data = dataclasses.replace(data, source="counted", options={}, image_size=16)
    splits = Splits()
    first = splits[data]
    # How batches are made of it does not matter, and 16 is (16, 16).
    same = dataclasses.replace(data, batch_size=99, num_threads=7, image_size=(16, 16))
    assert splits[same] is first
    splits[dataclasses.replace(data, image_size=(16, 20))]
    splits[dataclasses.replace(data, options={"seed": 1})]
    assert asked == [((16, 16), {}), ((16, 20), {}), ((16, 16), {"seed": 1})]


def test_an_unknown_source_is_named():
    data = read_run(tiny_config.get_config().to_dict()).data
    with pytest.raises(UserError, match=r"^data\.source: 'nowhere' is not known here; give the "):
        Splits()[dataclasses.replace(data, source="nowhere")]
