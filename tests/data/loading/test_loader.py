import threading

import numpy as np
import pytest

from darkrank_jax.data import Split, batches, every_view, view_of
from darkrank_jax.data.images import as_images
from darkrank_jax.data.loading import loader
from darkrank_jax.errors import UserError

RNG = np.random.default_rng(0)
SPLIT = Split(
    RNG.integers(0, 256, (30, 8, 8, 1), np.uint8),
    np.repeat(np.arange(6), 5).astype(np.int32),
    tuple("abcdef"),
)
AUGMENTATION = {"random_affine": {"degrees": 20.0, "translate": 0.1}}


def stream(first_step=0, num_steps=7, num_threads=1, **changes):
    arguments = {
        "seed": 3,
        "batch_size": 8,
        "images_per_class": 2,
        "augmentation": AUGMENTATION,
    } | changes
    return batches(
        SPLIT, first_step=first_step, num_steps=num_steps, num_threads=num_threads, **arguments
    )


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def equal(one, other):
    return all((one[name] == other[name]).all() for name in ("images", "labels", "rows"))


def test_the_same_for_any_number_of_threads_and_any_first_step():
    alone, together = list(stream()), list(stream(num_threads=4))
    assert len(alone) == len(together) == 7
    assert all(equal(a, b) for a, b in zip(alone, together, strict=True))
    later = list(stream(first_step=4, num_steps=3, num_threads=2))
    assert all(equal(a, b) for a, b in zip(alone[4:], later, strict=True))
    assert not equal(alone[0], alone[1])


def test_processes_share_a_batch():
    whole = next(stream(num_threads=2))
    parts = [next(stream(process_index=index, num_processes=2)) for index in range(2)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in whole}
    assert equal(joined, whole)


def test_views_are_few_draws_in_rotation():
    """30 images in batches of 8, so that an epoch is almost four steps."""
    views = {}
    for view, rows, images in every_view(
        SPLIT, views=3, batch_size=8, augmentation=AUGMENTATION, num_threads=2
    ):
        assert rows.shape == (8,)
        for row, image in zip(rows.tolist(), images, strict=True):
            # The rows that fill the last ones up are the same again.
            assert (views.setdefault((view, row), image) == image).all()
    assert views.keys() == {(view, row) for view in range(3) for row in range(30)}
    assert all((views[0, row] != views[1, row]).any() for row in range(30))
    assert [view_of(step, 8, 30, 3) for step in range(13)] == [0] * 4 + [1] * 4 + [2] * 4 + [0]
    for step, batch in enumerate(stream(num_steps=13, views=3)):
        for row, image in zip(batch["rows"].tolist(), batch["images"], strict=True):
            assert (image == views[view_of(step, 8, 30, 3), row]).all()


def test_a_sampler_is_named_with_its_options():
    batch = next(stream(sampler={"name": "p_x_k", "others": 4}, augmentation={}))
    labels = batch["labels"]
    assert labels[0] == labels[1] != labels[2] == labels[3]
    assert len(set(labels.tolist())) == 6


def test_images_belong_to_their_labels():
    for batch in stream(augmentation={}):
        for image, label in zip(batch["images"], batch["labels"], strict=True):
            (row,) = np.flatnonzero((SPLIT.images == image).all((1, 2, 3)))
            assert SPLIT.labels[row] == label
        np.testing.assert_array_equal(batch["images"], SPLIT.images[batch["rows"]])


def test_augmentation_leaves_the_split_as_it_is():
    before = SPLIT.images.copy()
    list(stream())
    np.testing.assert_array_equal(SPLIT.images, before)


def test_closing_ends_the_threads():
    batches_ = stream(num_steps=1000, num_threads=3)
    next(batches_)
    assert threads()
    batches_.close()
    assert not threads()


def test_an_error_in_a_thread_reaches_the_consumer(monkeypatch):
    def fail(*_, **__):
        raise OSError("disk gone")

    monkeypatch.setattr(loader, "augment", fail)
    with pytest.raises(OSError, match="disk gone"):
        next(stream(num_threads=2))
    assert not threads()


def test_refuses_a_batch_of_more_classes_than_there_are():
    with pytest.raises(UserError) as refusal:
        next(stream(batch_size=14))
    assert str(refusal.value) == (
        "data.batch_size: 14 images at 2 a class (data.images_per_class) need 7 classes, and the "
        "training split has 6; give at most 12, or more images a class"
    )


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_teacher_of_another_size_sees_the_same_changes(num_workers):
    larger = as_images(SPLIT.images.repeat(2, axis=1).repeat(2, axis=2))
    flips = {"horizontal_flip": {}}
    alone = list(stream(augmentation=flips))
    both = list(
        stream(augmentation=flips, teacher_images=larger, num_workers=num_workers, num_threads=2)
    )
    for one, two in zip(alone, both, strict=True):
        assert equal(one, two)
        expected = one["images"].repeat(2, axis=1).repeat(2, axis=2)
        np.testing.assert_array_equal(two["teacher_images"], expected)
