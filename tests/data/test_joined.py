"""Images of two sources as those of one split."""

import numpy as np
import pytest

from darkrank_jax.data import Split, batches
from darkrank_jax.data.images import as_images
from darkrank_jax.data.joined import JoinedImages, join_unlabelled

RNG = np.random.default_rng(7)
FIRST, SECOND = (RNG.integers(0, 256, (count, 6, 5, 3), np.uint8) for count in (4, 9))
BOTH = np.concatenate([FIRST, SECOND])
JOINED = JoinedImages(as_images(FIRST), as_images(SECOND))


@pytest.mark.parametrize("rows", [slice(2, 7), np.array([9, 0, 3, 12]), -1, 4, [5, 1]])
def test_joined_images_are_the_two_arrays_one_after_the_other(rows):
    np.testing.assert_array_equal(JOINED[rows], BOTH[rows])
    assert JOINED.shape == BOTH.shape


def test_rows_are_read_selected_and_shown_from_both():
    rows = np.array([1, 3, 4, 11])
    out = np.zeros((4, 6, 5, 3), np.uint8)
    JOINED.read_into(rows, out)
    np.testing.assert_array_equal(out, BOTH[rows])
    np.testing.assert_array_equal(JOINED.select(rows)[:], BOTH[rows])
    np.testing.assert_array_equal(JOINED.select(rows[:2])[:], BOTH[rows[:2]])
    np.testing.assert_array_equal(JOINED.picture(11), BOTH[11])
    with pytest.raises(ValueError, match="rows: images with labels come before"):
        JOINED.select(np.array([5, 1]))


def test_the_digest_follows_both_parts():
    other = JoinedImages(as_images(FIRST), as_images(SECOND[::-1]))
    swapped = JoinedImages(as_images(SECOND), as_images(FIRST))
    assert len({JOINED.digest(), other.digest(), swapped.digest()}) == 3


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_of_a_joined_split_are_the_same_in_workers(num_workers):
    labelled = Split(FIRST, np.array([0, 0, 1, 1], np.int32), ("a", "b"))
    split = join_unlabelled(labelled, Split(SECOND, np.full(9, -1, np.int32), ()))
    found = list(
        batches(
            split,
            seed=3,
            first_step=0,
            num_steps=3,
            batch_size=8,
            images_per_class=2,
            num_unlabelled=4,
            augmentation={"horizontal_flip": {}},
            num_threads=1,
            num_workers=num_workers,
        )
    )
    for batch in found:
        assert (batch["labels"] >= 0).tolist() == [True] * 4 + [False] * 4
        for row, image in zip(batch["rows"], batch["images"], strict=True):
            assert any((image == each).all() for each in (BOTH[row], BOTH[row][:, ::-1]))
        assert len({*batch["rows"][4:].tolist()}) == 4
