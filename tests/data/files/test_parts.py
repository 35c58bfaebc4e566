"""Words for the parts of a set."""

import pytest

from darkrank_jax.data.files.parts import part_of
from tests.data.image_files import (
    WRITERS,
    class_names,
    load,
    renamed,
)

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize(
    ("word", "part"),
    [
        *((word, "train") for word in ("train", "Training", "TRAIN", "train_set", "trainset")),
        *((word, "validation") for word in ("val", "Valid", "validation", "dev", "Val-Images")),
        *((word, "test") for word in ("Test", "testing", " test ", "test_data", "TestSet")),
        *((word, "query") for word in ("query", "Probe", "queries")),
        *((word, "gallery") for word in ("gallery", "Gallery Images")),
        *((word, None) for word in ("trains", "train station", "test 1", "eval", "", "set")),
    ],
)
def test_word_for_a_part(word, part):
    assert part_of(word) == part


@pytest.mark.parametrize("form", ["folder", "zip", "tar"])
@pytest.mark.parametrize(
    "spelled",
    [("Training", "valid", "Testing"), ("data/train", "data/dev", "data/test_set")],
)
def test_split_folders_in_any_spelling_give_their_splits(form, spelled, tmp_path):
    files = renamed(**dict(zip("abc", spelled, strict=True)))
    splits = class_names(load(WRITERS[form](tmp_path, files)))
    assert splits == {
        name: {f"c{number}{letter}" for letter in "xyz"}
        for number, name in enumerate(("train", "validation", "test"))
    }
