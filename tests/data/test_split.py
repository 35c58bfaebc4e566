"""Splits of images, and classes chosen from them."""

import numpy as np
import pytest

from darkrank_jax.data.split import (
    Split,
    check_ranges,
    height_and_width,
    select_classes,
    shuffle_classes,
)
from darkrank_jax.errors import UserError


def test_a_split_takes_a_plain_array_and_keeps_its_memory():
    array = np.zeros((2, 4, 4, 1), np.uint8)
    split = Split(array, np.zeros(2, np.int32), ("a",))
    for each in (split, split._replace(images=array)):
        assert np.shares_memory(each.images, array)
        assert each.images.select(np.array([1])).shape == (1, 4, 4, 1)


@pytest.mark.parametrize("wrong", [np.zeros((2, 4, 4, 1)), np.zeros((2, 4, 4), np.uint8)])
def test_images_of_another_type_or_shape_are_an_error(wrong):
    with pytest.raises(UserError, match=r"^images of a split: must be uint8 \[n, h, w, c\]"):
        Split(wrong, np.zeros(2, np.int32), ("a",))


def test_chosen_classes_are_renumbered_in_the_order_given_with_their_images():
    rng = np.random.default_rng(2)
    labels = np.array([3, 0, 1, 3, 2, 0, 1], np.int32)
    pixels = rng.integers(0, 256, (7, 2, 3, 1), np.uint8)
    cameras, queries = np.arange(7, dtype=np.int32), np.arange(7) == 3
    split = Split(pixels, labels, ("a", "b", "c", "d"), cameras, queries)
    chosen = select_classes(split, np.array([3, 1]))
    rows = [row for row in range(7) if labels[row] in (3, 1)]
    assert chosen.class_names == ("d", "b")
    assert [chosen.class_names[label] for label in chosen.labels] == ["d", "b", "d", "b"]
    np.testing.assert_array_equal(chosen.images[:], pixels[rows])
    assert chosen.cameras.tolist() == rows
    assert chosen.queries.tolist() == [row == 3 for row in rows]
    # None of the queries is left.
    assert select_classes(split, np.array([0, 2])).queries is None


def test_shuffled_classes_are_those_of_the_seed():
    orders = [shuffle_classes(30, seed).tolist() for seed in (4, 4, 5)]
    assert all(sorted(order) == list(range(30)) for order in orders)
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"seed": 0, "test_fraction": -0.1}, "test_fraction: must be 0 to 1 (got -0.1)"),
        ({"images_per_class": 1}, "images_per_class: must be at least 2 (got 1)"),
        ({"cache_mib": float("inf")}, "cache_mib: must be at least 0 (got inf)"),
        ({"tolerated": float("nan")}, "tolerated: must be 0 to 1 (got nan)"),
    ],
)
def test_numbers_out_of_range_are_refused(options, line):
    with pytest.raises(UserError) as error:
        check_ranges(**options)
    assert str(error.value) == f"data.options.{line}"


def test_an_image_size_is_a_square_or_height_and_width():
    assert height_and_width(7) == (7, 7)
    assert height_and_width((7, 3)) == (7, 3)


def test_a_split_is_shown_in_one_line():
    split = Split(np.zeros((2, 4, 5, 1), np.uint8), np.zeros(2, np.int32), ("a",))
    assert repr(split) == "Split(images 2 x 4 x 5 x 1, 1 classes)"
