import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkrank_jax.data.loading.sampler import (
    SAMPLERS,
    check_batch,
    class_neighbors,
    class_rows,
    of_process,
    p_x_k,
)
from darkrank_jax.errors import UserError

LABELS = np.random.default_rng(3).permutation(np.repeat(np.arange(7), [2, 3, 5, 6, 1, 9, 4]))
CLASSES = class_rows(LABELS)
NEIGHBORS = np.array([[1, 2], [0, 2], [0, 1], [4, 5], [3, 5], [3, 4], [0, 3]])
OPTIONS = {"hard_classes": {"neighbors": NEIGHBORS, "group": 3, "pool": 2}}


def draw(seed=4, step=11, batch_size=12, images_per_class=3, **options):
    sizes = {"batch_size": batch_size, "images_per_class": images_per_class}
    return p_x_k(CLASSES, seed=seed, step=step, **sizes, **options)


def test_rows_of_a_class_are_its_images():
    for label, (start, count) in enumerate(zip(CLASSES.starts, CLASSES.counts, strict=True)):
        rows = CLASSES.rows[start : start + count]
        assert sorted(rows) == np.flatnonzero(label == LABELS).tolist()


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


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_pairs_and_others(seed):
    labels = LABELS[draw(seed, batch_size=8, images_per_class=2, others=4)]
    assert labels[0] == labels[1] != labels[2] == labels[3]
    assert len(set(labels)) == 6


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_batch_follows_from_seed_and_step_alone(name):
    def batch(seed, step):
        sizes = {"batch_size": 12, "images_per_class": 2}
        return SAMPLERS[name](CLASSES, seed=seed, step=step, **sizes, **OPTIONS.get(name, {}))

    np.testing.assert_array_equal(batch(4, 11), batch(4, 11))
    assert batch(4, 11).shape == (12,)
    assert (batch(4, 12) != batch(4, 11)).any()
    assert (batch(5, 11) != batch(4, 11)).any()
    parts = [of_process(batch(4, 11), index, 3) for index in range(3)]
    assert [len(part) for part in parts] == [4, 4, 4]
    np.testing.assert_array_equal(np.concatenate(parts), batch(4, 11))


def test_classes_and_images_come_equally_often():
    drawn = np.concatenate([draw(step=step) for step in range(4000)])
    per_class = np.bincount(LABELS[drawn]) / len(drawn)
    assert per_class == pytest.approx(np.full(7, 1 / 7), abs=0.01)
    largest = np.flatnonzero(LABELS == 5)
    shares = np.bincount(drawn, minlength=len(LABELS))[largest] / (LABELS[drawn] == 5).sum()
    assert shares == pytest.approx(np.full(9, 1 / 9), abs=0.015)


@pytest.mark.parametrize("batch_size", [3, 7, 12, 31])
def test_class_balanced_batches_are_as_even_as_can_be(batch_size):
    totals = np.zeros(7)
    for step in range(300):
        rows = SAMPLERS["class_balanced"](
            CLASSES, seed=1, step=step, batch_size=batch_size, images_per_class=1
        )
        counts = np.bincount(LABELS[rows], minlength=7)
        assert len(rows) == batch_size
        assert counts.max() - counts.min() <= 1
        for label in np.flatnonzero(counts):
            different = len(set(rows[LABELS[rows] == label]))
            assert different == min(counts[label], CLASSES.counts[label])
        totals += counts
    assert totals / totals.sum() == pytest.approx(np.full(7, 1 / 7), abs=0.03)


def test_hard_classes_are_groups_of_neighbors():
    firsts = np.zeros(7)
    for step in range(400):
        rows = SAMPLERS["hard_classes"](
            CLASSES, seed=2, step=step, batch_size=12, images_per_class=2, **OPTIONS["hard_classes"]
        )
        classes = LABELS[rows].reshape(6, 2)[:, 0]
        assert len(set(classes)) == 6
        assert set(classes[1:3]) == set(NEIGHBORS[classes[0]])
        firsts[classes[0]] += 1
    assert firsts / 400 == pytest.approx(np.full(7, 1 / 7), abs=0.06)


def test_neighbors_are_the_nearest_class_means():
    rng = np.random.default_rng(5)
    embeddings = rng.normal(size=(len(LABELS), 4)) + 2 * rng.normal(size=(7, 4))[LABELS]
    means = np.stack([embeddings[label == LABELS].mean(0) for label in range(7)])
    for pool in (3, 99):
        found = class_neighbors(embeddings, LABELS, pool=pool)
        for label in range(7):
            lengths = np.linalg.norm(means - means[label], axis=1)
            expected = [c for c in np.argsort(lengths) if c != label][:pool]
            assert found[label].tolist() == expected


def test_a_batch_of_too_many_classes_is_refused():
    line = (
        "data.batch_size: 14 images at 2 a class (data.images_per_class) need 7 classes, and the "
        "training split has 6; give at most 12, or more images a class"
    )
    with pytest.raises(UserError) as refusal:
        check_batch(6, 14, 2, {"name": "hard_classes"})
    assert str(refusal.value) == line
    with pytest.raises(UserError, match="need 6 classes, and the training split has 5; give at mo"):
        check_batch(5, 8, 2, {"name": "p_x_k", "others": 4})
    check_batch(6, 12, 2, {"name": "p_x_k"})
    check_batch(6, 8, 2, {"name": "p_x_k", "others": 4})
    check_batch(2, 14, 2, {"name": "class_balanced"})


def test_random_draws_every_image_equally_often_and_none_twice_in_a_batch():
    classes = class_rows(np.array([0] * 20 + [1, 2]))
    draws = [
        SAMPLERS["random"](classes, seed=5, step=step, batch_size=11, images_per_class=1)
        for step in range(2000)
    ]
    assert all(len(set(each.tolist())) == 11 for each in draws)
    counts = np.bincount(np.concatenate(draws), minlength=22)
    # Half of all batches hold an image: 1000, and 22.4 is the standard deviation.
    assert np.abs(counts - 1000).max() < 5 * 22.4
    more = SAMPLERS["random"](classes, seed=5, step=0, batch_size=50, images_per_class=1)
    assert len(more) == 50
