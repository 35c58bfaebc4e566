"""Glyphs follow from the seed, are split by character and differ within a class."""

import re

import numpy as np
import pytest

from darkrank_jax.data import SOURCES
from darkrank_jax.errors import UserError

glyphs = SOURCES["glyphs"]
SMALL = {"image_size": 16, "num_classes": 20, "images_per_class": 6}


def test_glyphs_are_split_by_character():
    splits = glyphs(**SMALL, validation_fraction=0.2, test_fraction=0.3)
    assert {name: len(split.class_names) for name, split in splits.items()} == {
        "train": 10,
        "validation": 4,
        "test": 6,
    }
    assert len({name for split in splits.values() for name in split.class_names}) == 20
    for split in splits.values():
        assert split.images.shape == (6 * len(split.class_names), 16, 16, 1)
        assert split.images.dtype == np.uint8
        np.testing.assert_array_equal(np.bincount(split.labels), 6)


def by_class(splits):
    return {
        name: split.images[split.labels == label]
        for split in splits.values()
        for label, name in enumerate(split.class_names)
    }


def test_glyphs_follow_from_the_seed_alone():
    one, same, other = (by_class(glyphs(**SMALL, seed=seed)) for seed in (5, 5, 6))
    assert one.keys() == same.keys() != other.keys()
    for name, images in one.items():
        np.testing.assert_array_equal(images, same[name])


def test_a_glyph_looks_the_same_in_a_larger_set():
    small, large = by_class(glyphs(**SMALL)), by_class(glyphs(**SMALL | {"num_classes": 25}))
    assert small.keys() < large.keys()
    for name, images in small.items():
        np.testing.assert_array_equal(images, large[name])


def test_glyphs_vary_within_a_class_and_are_not_empty():
    for images in by_class(glyphs(**SMALL)).values():
        assert (images.max((1, 2, 3)) > 40).all()
        assert len({image.tobytes() for image in images}) == len(images)


def test_undistorted_glyphs_are_the_faces_alone():
    images = np.concatenate(list(by_class(glyphs(**SMALL, distortion=0.0)).values()))
    assert len({image.tobytes() for image in images}) < len(images)


def test_there_are_a_thousand_glyphs():
    with pytest.raises(
        UserError,
        match=r"num_classes: must be at most \d{4}, the characters of the fonts \(got 99999\)",
    ):
        glyphs(image_size=16, num_classes=99999)


def test_glyphs_refuse_a_path_that_they_would_not_read():
    with pytest.raises(UserError, match=r"^data\.path: must be empty for glyphs, .* \(got /no/x\)"):
        glyphs(**SMALL, path="/no/x")


def test_glyphs_refuse_an_empty_split():
    with pytest.raises(UserError, match="of 10 classes 0 validate and 2 test"):
        glyphs(image_size=16, num_classes=10, validation_fraction=0.0, test_fraction=0.2)


def test_glyphs_are_listed_as_they_are_used():
    assert list(glyphs(**SMALL)) == ["train", "validation", "test"]


@pytest.mark.parametrize(
    ("option", "value", "valid"),
    [
        ("images_per_class", 0, "at least 2"),
        ("images_per_class", -1, "at least 2"),
        ("images_per_class", 1, "at least 2"),
        ("distortion", -0.5, "at least 0"),
        ("distortion", float("inf"), "at least 0"),
        ("distortion", float("nan"), "at least 0"),
        ("seed", -1, "0 to 4294967295"),
        ("test_fraction", float("nan"), "0 to 1"),
        ("validation_fraction", 1.5, "0 to 1"),
    ],
)
def test_glyphs_refuse_numbers_out_of_range(option, value, valid):
    line = f"data.options.{option}: must be {valid} (got {value})"
    with pytest.raises(UserError, match=f"^{re.escape(line)}$"):
        glyphs(**SMALL | {option: value})
