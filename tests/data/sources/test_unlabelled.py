"""The source of images of which no class is known."""

import numpy as np
import pytest

from darkrank_jax.data import SOURCES
from darkrank_jax.errors import UserError
from tests.data.image_files import CLASSES, WRITERS, layout

FILES = layout(CLASSES, 7)


@pytest.mark.parametrize("kind", WRITERS)
def test_all_images_are_there_whatever_their_folders_and_some_are_held_out(kind, tmp_path):
    (tmp_path / "images").mkdir()
    path = WRITERS[kind](tmp_path, FILES)
    splits = SOURCES["unlabelled"](path=str(path), image_size=16, validation_images=12, seed=3)
    assert splits.keys() == {"train", "validation"}
    assert [len(split.labels) for split in splits.values()] == [58, 12]
    for split in splits.values():
        assert split.class_names == ()
        assert (split.labels == -1).all()
    names = {name for split in splits.values() for name in split.names}
    assert names == FILES.keys()
    other = SOURCES["unlabelled"](path=str(path), image_size=16, validation_images=12, seed=4)
    assert {*other["validation"].names} != {*splits["validation"].names}


def test_no_more_than_a_fifth_is_held_out(tmp_path):
    path = WRITERS["folder"](tmp_path, FILES)
    splits = SOURCES["unlabelled"](path=str(path), image_size=16)
    assert len(splits["validation"].labels) == 14
    assert not np.isin(splits["validation"].images.numbers, splits["train"].images.numbers).any()


def test_too_few_images_or_none_are_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"^data\.path: must not be empty; give a folder, a \.zip or a "
    ):
        SOURCES["unlabelled"](path="", image_size=16)
    path = WRITERS["folder"](tmp_path, layout(CLASSES[:2], 7))
    with pytest.raises(UserError, match=r"^data\.path: must hold at least 55 images, .*\(got 14\)"):
        SOURCES["unlabelled"](path=str(path), image_size=16)
