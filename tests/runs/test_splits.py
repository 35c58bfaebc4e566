"""Splits of a command: loaded once for equal data."""

import dataclasses

import numpy as np
import pytest

from darkrank_jax.config.reader import read_run
from darkrank_jax.data import SOURCES, Split
from darkrank_jax.errors import UserError
from darkrank_jax.runs.splits import Splits, in_steps
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


def run_of(config):
    return read_run(config.to_dict())


def test_epochs_are_as_many_steps_as_hold_the_images_rounded_up():
    config = tiny_config.get_config().unlock()
    config.steps, config.epochs = 0, 2.4
    config.schedule.warmup_steps, config.warmup_epochs = 0, 0.4
    # Twelve classes of four images are trained on, eight a batch: six batches an epoch.
    run = in_steps(run_of(config), Splits())
    assert (run.steps, run.epochs) == (15, 0.0)
    assert run.schedule == {"name": "cosine", "warmup_steps": 3}
    assert (run.warmup_epochs, run.is_trained) == (0.0, True)
    # The teacher's length is its own, and the baseline's is the student's.
    assert (run.teacher.steps, run.baseline_run.steps) == (8, 15)


def test_epochs_of_teachers_and_members_are_counted_and_those_of_a_checkpoint_are_not():
    config = tiny_config.small()
    config.losses = {"rkd_distance": {"weight": 1.0}}
    config.teacher = tiny_config.small()
    members = {name: tiny_config.small() for name in ("a", "b")}
    for member in members.values():
        member.update({"steps": 0, "epochs": 1.0, "losses": {"triplet": {"weight": 1.0}}})
    members["b"].checkpoint = "somewhere"
    config.teacher.ensemble = members
    run = in_steps(run_of(config), Splits())
    assert [run.teacher.ensemble[name].steps for name in "ab"] == [6, 0]
    assert run.steps == 8


def test_a_run_in_steps_loads_nothing(monkeypatch):
    run = run_of(tiny_config.get_config())
    monkeypatch.delitem(SOURCES, "glyphs")
    assert in_steps(run, Splits()) == run
