"""What a network needs of tables to which a config file may add."""

import dataclasses

import pytest

from darkrank_jax.config.reader import read_run
from darkrank_jax.config.registered import check_source, needs_of
from darkrank_jax.data import SOURCES
from darkrank_jax.errors import UserError
from darkrank_jax.losses import LOSSES, Loss
from tests import tiny_config


@pytest.fixture
def data():
    return read_run(tiny_config.get_config().to_dict()).data


@pytest.mark.parametrize(
    ("options", "crop"), [({}, 0.25), ({"center_crop": 0.5}, 0.5), ({"center_crop": 0.0}, 0.0)]
)
def test_the_crop_is_the_configs_or_the_sources_own(options, crop, data, monkeypatch):
    monkeypatch.setitem(SOURCES, "own", lambda *, path, image_size, center_crop=0.25: {})
    data = dataclasses.replace(data, source="own", options=options)
    needs = needs_of(data, ["triplet", "arcface", "softmax"])
    assert needs == {"center_crop": crop, "class_weights": ["arcface", "softmax"]}


def test_a_source_without_a_crop_sees_the_whole_middle(data, monkeypatch):
    monkeypatch.setitem(SOURCES, "own", lambda *, path, image_size: {})
    monkeypatch.setitem(LOSSES, "mine", Loss(lambda x, y: 0, ("embeddings", "class_weights")))
    data = dataclasses.replace(data, source="own", options={})
    assert needs_of(data, ["mine"]) == {"center_crop": 1.0, "class_weights": ["mine"]}


def test_what_no_loaded_file_registers_is_named(data):
    with pytest.raises(UserError, match=r"^losses\.theirs: is no loss that is known here; give "):
        needs_of(data, ["triplet", "theirs"])
    with pytest.raises(UserError, match=r"^data\.source: 'theirs' is not known here; give "):
        check_source(dataclasses.replace(data, source="theirs"))
