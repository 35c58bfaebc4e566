"""Class and split of an image by its folders."""

import pytest

from darkrank_jax.data.files.class_folders import lines_of_folders
from darkrank_jax.errors import UserError
from tests.data.image_files import (
    SMALL,
    WRITERS,
    class_names,
    layout,
    load,
    refusal,
    renamed,
    write_folder,
)

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize(
    ("prefixes", "line"),
    [
        (
            ("train", "test", "extra"),
            "test, train names a split, but extra lies beside it; move that into a split or out of",
        ),
        (("Training", "other"), "Training names a split, but other lies beside it; move that into"),
        (("train", "eval"), "train names a split, but eval lies beside it; "),
        (("set/train", "set/test", "more"), "set/test/c1x names a split below other folders; "),
        (("a/train", "a/test", "b/train"), "a/test/c1x names a split below other folders; put the"),
        (("train2017", "val2017"), "train2017 and val2017 look like splits; rename them to train"),
        (("birds_train", "birds_test"), "birds_test and birds_train look like splits; rename them"),
        (("trainA", "testA"), "testA and trainA look like splits; rename them to train, "),
    ],
)
def test_folders_that_may_be_splits_are_refused(form, prefixes, line, tmp_path, capsys):
    path = WRITERS[form](tmp_path, renamed(**dict(zip("abc", prefixes, strict=False))))
    assert refusal(capsys, path).startswith(f"{path}: {line}")


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (("cat/1.png", "dog/1.png", "test/1.png"), "test names a split, but cat, dog lies beside"),
        (("train/1.png", "test/1.png"), "images lie directly in test, which names a split, and in"),
        (("train/cat/1.png", "test/1.png"), "images lie directly in test, which names a split"),
        (("cat/1.png", "cat/test/1.png", "dog/1.png"), "cat/test names a split below other fold"),
        (("cat/train/1.png", "cat/test/1.png"), "images lie directly in test, which names a spl"),
        (("cat/train/1.png", "dog/test/1.png"), "dog/test names a split below other folders; "),
        (("1.png", "a/2.png"), "1.png lies in no class folder; move it into one"),
        (("a/x\x1b.png", "a/2.png"), "holds images of one class alone (a); put each class in"),
        (("a\\1.png", "b\\1.png"), "holds images of one class alone (no folder); put each class"),
        (("é\x1b[/1.png", "test/a/1.png"), "test names a split, but é\\x1b[ lies beside it; "),
    ],
)
def test_images_beside_splits_are_refused(names, line, tmp_path):
    with pytest.raises(UserError) as error:
        list(lines_of_folders(tmp_path, names))
    assert str(error.value).startswith(f"{tmp_path}: {line}")
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        # A class of trains.
        (("bus/1.png", "train/1.png"), ["bus", "train"]),
        (("road/bus/1.png", "rail/train/1.png"), ["road/bus", "rail/train"]),
        (("test tube/1.png", "train station/1.png"), ["test tube", "train station"]),
        (("cat /1.png", "dog/1.png"), ["cat", "dog"]),
        # One split alone says nothing.
        (("test/cat/1.png", "test/dog/1.png"), ["cat", "dog"]),
    ],
)
def test_class_names_that_resemble_splits_are_classes(names, labels, tmp_path):
    lines = list(lines_of_folders(tmp_path, names))
    assert [line.label for line in lines] == labels
    assert {line.part for line in lines} == {""}


def test_a_class_folder_of_class_folders_is_reported(tmp_path, caplog):
    path = write_folder(tmp_path, SMALL | layout(["class 3/more"], 2))
    assert "class 3/more" in set.union(*class_names(load(path)).values())
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{path}: 1 folders hold both images and folders of images, each a class; first class 3"
    )
