"""Batches of a run from any step, and where their outputs are stored."""

import dataclasses

import numpy as np
import pytest

from darkrank_jax.config.reader import read_run
from darkrank_jax.data import Split
from darkrank_jax.training.batches import Batches
from tests import tiny_config

LABELS = np.repeat(np.arange(6, dtype=np.int32), 4)


def batches(views=0, **changes):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (24, 16, 16, 1), np.uint8)
    data = read_run(tiny_config.get_config().to_dict()).data
    data = dataclasses.replace(
        data, batch_size=8, images_per_class=2, views=views, num_threads=1, num_workers=0
    )
    train = Split(images, LABELS, tuple("abcdef"))
    given = {"sampler": {"name": "p_x_k"}, "seed": 3, "steps": 5, "teacher_split": train}
    return Batches(train, data, **given | changes)


def test_batches_from_a_later_step_are_the_same_batches():
    with batches().stream(0) as stream:
        whole = list(stream)
    with batches().stream(3) as stream:
        rest = list(stream)
    assert len(whole) == 5
    assert len(rest) == 2
    for found, expected in zip(rest, whole[3:], strict=True):
        np.testing.assert_array_equal(found["images"], expected["images"])
        np.testing.assert_array_equal(found["rows"], expected["rows"])
        np.testing.assert_array_equal(found["labels"], LABELS[found["rows"]])


@pytest.mark.parametrize("views", [0, 3])
def test_every_batch_finds_its_images_in_the_store(views):
    of_run = batches(views)
    assert of_run.num_stored() == (3 * 24 // 8 if views else 5)
    stored = np.stack([*of_run.stored(0, 2), *of_run.stored(2, of_run.num_stored() - 2)])
    with of_run.stream(0) as stream:
        for step, batch in enumerate(stream):
            found = stored[of_run.place(step, batch["rows"])]
            np.testing.assert_array_equal(found, batch["images"])


def test_the_teacher_has_the_same_batches_of_its_own_images():
    images = np.random.default_rng(1).integers(0, 256, (24, 32, 32, 1), np.uint8)
    both = batches(teacher_split=Split(images, LABELS, tuple("abcdef")))
    with both.stream(0) as stream, both.of_teacher().stream(0) as alone:
        for batch, taught in zip(stream, alone, strict=True):
            np.testing.assert_array_equal(batch["rows"], taught["rows"])
            np.testing.assert_array_equal(batch["teacher_images"], taught["images"])
