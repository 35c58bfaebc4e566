import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkrank_jax.data.sampler import class_rows, sample_batch

LABELS = np.random.default_rng(3).permutation(np.repeat(np.arange(7), [2, 3, 5, 6, 1, 9, 4]))
CLASSES = class_rows(LABELS)


def draw(seed=4, step=11, batch_size=12, images_per_class=3):
    return sample_batch(
        CLASSES, seed=seed, step=step, batch_size=batch_size, images_per_class=images_per_class
    )


def test_rows_of_a_class_are_its_images():
    for label, (row, count) in enumerate(zip(*CLASSES, strict=True)):
        assert sorted(row[:count]) == np.flatnonzero(label == LABELS).tolist()
        assert (row[count:] == -1).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 7))
def test_a_batch_is_classes_times_images(seed, step, images_per_class, num_classes):
    rows = draw(seed, step, images_per_class * num_classes, images_per_class)
    groups = LABELS[rows].reshape(num_classes, images_per_class)
    assert (groups == groups[:, :1]).all()
    assert len(set(groups[:, 0])) == num_classes
    for group, images in zip(groups, rows.reshape(groups.shape), strict=True):
        # As many different images as the class has, or as the batch takes.
        assert len(set(images)) == min(images_per_class, (group[0] == LABELS).sum())


def test_depends_on_seed_and_step_alone():
    np.testing.assert_array_equal(draw(), draw())
    assert (draw() != draw(step=12)).any()
    assert (draw() != draw(seed=5)).any()


def test_classes_and_images_come_equally_often():
    drawn = np.concatenate([draw(step=step) for step in range(4000)])
    per_class = np.bincount(LABELS[drawn]) / len(drawn)
    assert per_class == pytest.approx(np.full(7, 1 / 7), abs=0.01)
    largest = np.flatnonzero(LABELS == 5)
    shares = np.bincount(drawn, minlength=len(LABELS))[largest] / (LABELS[drawn] == 5).sum()
    assert shares == pytest.approx(np.full(9, 1 / 9), abs=0.015)
