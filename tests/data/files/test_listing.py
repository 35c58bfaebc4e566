"""Which files of a folder or an archive are listed, and the class and split of each."""

import os
import socket
import zipfile

import pytest

from darkrank_jax.data.files.class_folders import lines_of_folders
from darkrank_jax.data.files.listing import clean, natural_order
from darkrank_jax.data.files.parts import part_of
from darkrank_jax.errors import UserError
from tests.data.image_files import (
    CLASSES,
    WHOLE,
    WRITERS,
    layout,
    load,
    refusal,
    write_folder,
    write_tar,
    write_zip,
)

pytestmark = pytest.mark.usefixtures("cache")
# Classes of two images, which suffice.
SMALL = layout(CLASSES[:8], 2)


def class_names(splits):
    return {name: set(split.class_names) for name, split in splits.items()}


def renamed(**prefixes):
    """Two images of three classes a prefix, all classes distinct."""
    files = {}
    for number, prefix in enumerate(prefixes.values()):
        files |= layout([f"c{number}{letter}" for letter in "xyz"], 2, f"{prefix}/")
    return files


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


def test_the_same_classes_in_train_and_test_are_refused(tmp_path, capsys):
    files = layout(CLASSES[:6], 2, "Training/") | layout(CLASSES[:4], 3, "Testing/")
    assert refusal(capsys, write_folder(tmp_path, files)) == (
        "data.path: 4 of 4 classes of test are also in train, first 'class 1'; what is measured "
        "must be unseen, so keep each class in one of them, or give train alone, of which classes "
        "are held out"
    )
    assert set.union(*class_names(load(tmp_path / "Training")).values()) == set(CLASSES[:6])


def test_a_class_folder_of_class_folders_is_reported(tmp_path, caplog):
    path = write_folder(tmp_path, SMALL | layout(["class 3/more"], 2))
    assert "class 3/more" in set.union(*class_names(load(path)).values())
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{path}: 1 folders hold both images and folders of images, each a class; first class 3"
    )


@pytest.mark.parametrize("form", ["folder", "zip", "tar"])
@pytest.mark.parametrize(
    "system", ["@eaDir/1.png", "_thumb", "#recycle", "$RECYCLE.BIN", "lost+found", "@Recycle/x"]
)
def test_folders_of_systems_are_left_out_and_reported(form, system, tmp_path, caplog):
    files = SMALL | {f"class 2/{system}/t.jpg": WHOLE["class 9/0.png"]}
    path = WRITERS[form](tmp_path, files)
    assert set.union(*class_names(load(path)).values()) == set(CLASSES[:8])
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{path}: 1 are files of a system and left out; first class 2/{system}/t.jpg"
    )


@pytest.mark.parametrize(
    "name", [".thumbnails/1.png", "__MACOSX/class 1/._0.png", ".git/a/1.png", "class 1/._0.png"]
)
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_dot_files_are_left_out(form, name, tmp_path, caplog):
    splits = load(WRITERS[form](tmp_path, SMALL | {name: b"x"}))
    assert set.union(*class_names(splits).values()) == set(CLASSES[:8])
    assert not caplog.records


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_what_is_no_file_is_left_out_and_reported(tmp_path, caplog):
    path = write_folder(tmp_path / "images", SMALL)
    os.mkfifo(path / "class 1" / "9.png")
    os.mkfifo(tmp_path / "elsewhere.png")
    (path / "class 2" / "9.png").symlink_to(tmp_path / "elsewhere.png")
    (path / "class 3" / "9.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        before = os.getcwd()
        os.chdir(path)
        try:
            listening.bind("class 4/9.png")
        finally:
            os.chdir(before)
        splits = load(path)
    assert sum(len(split.labels) for split in splits.values()) == 16
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{path}: 4 are pipes, sockets or devices and left out; first class 1/9.png"
    )


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".csv", ""])
def test_a_pipe_as_the_source_is_refused(suffix, tmp_path, capsys):
    path = tmp_path / f"pipe{suffix}"
    os.mkfifo(path)
    line = "is missing; give the table" if suffix == ".csv" else "must be a folder or a file (got a"
    assert refusal(capsys, path).startswith(f"{path}: {line}")


def test_a_folder_of_two_names_is_listed_under_its_own(tmp_path, caplog):
    path = write_folder(tmp_path, layout(CLASSES[:8], 2, "train/"))
    # A link that sorts before the folder it leads to, and a loop.
    (path / "alias").symlink_to(path / "train", target_is_directory=True)
    (path / "train" / "class 2" / "loop").symlink_to(path, target_is_directory=True)
    splits = load(path)
    assert all(name.startswith("train/") for split in splits.values() for name in split.names)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: 2 folders are listed already and left out; first alias"
    ]


def test_a_loop_of_links_to_files_is_named(tmp_path, capsys):
    path = write_folder(tmp_path, SMALL)
    (path / "class 1" / "a.png").symlink_to("b.png")
    (path / "class 1" / "b.png").symlink_to("a.png")
    assert refusal(capsys, path).startswith(f"{path}/class 1/a.png: cannot be read (Too many")


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path, capsys, monkeypatch):
    """Simulated, since root can list every folder."""
    path, scan = write_folder(tmp_path, SMALL), os.scandir

    def scandir(folder):
        if os.path.basename(folder) in ("class 1", "lost+found"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    (path / "lost+found").mkdir()
    monkeypatch.setattr(os, "scandir", scandir)
    assert refusal(capsys, path) == (
        f"{path}/class 1: cannot be listed (Permission denied); make it readable, or move it out "
        "of here"
    )


def backslashed(path, files):
    """A zip as tools for Windows write it; Python's own writes slashes."""
    data = write_zip(path, files).read_bytes()
    for name in files:
        data = data.replace(name.encode(), name.replace("/", "\\").encode())
    path.write_bytes(data)
    return path


def test_backslashes_of_an_archive_are_folders(tmp_path):
    splits = load(backslashed(tmp_path / "a.zip", layout(CLASSES, 2)))
    tar = write_tar(
        tmp_path / "a.tar", {n.replace("/", "\\"): d for n, d in layout(CLASSES, 2).items()}
    )
    for found in (splits, load(tar)):
        assert set.union(*class_names(found).values()) == set(CLASSES)
        for split in found.values():
            for row, name in enumerate(split.names):
                assert name.startswith(f"{split.class_names[split.labels[row]]}/")
                assert split.images[row].std() > 0


def test_slashes_and_backslashes_in_one_archive_are_refused(tmp_path, capsys):
    path = write_tar(tmp_path / "a.tar", SMALL | {"class 1\\9.png": b"x"})
    assert refusal(capsys, path) == (
        f"{path}: entry 'class 1\\\\9.png' has a backslash, where others have slashes; unpack the "
        "archive and give the folder"
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("again", ["class 1/0.png", "./class 1/0.png", "class 1//0.png"])
def test_a_zip_entry_that_is_there_twice_is_refused(again, tmp_path, capsys):
    path = write_zip(tmp_path / "a.zip", SMALL)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(again, SMALL["class 2/0.png"])
    assert refusal(capsys, path) == (
        f"{path}: entry {again!r} is there twice; unpack the archive and give the folder"
    )


def test_of_a_tar_entry_that_is_there_twice_the_last_counts(tmp_path):
    """As where it is unpacked; such entries are how a tar is updated."""
    path = write_tar(tmp_path / "a.tar", SMALL | {"class 1/0.png": b"broken"})
    write_tar(path, {"class 1/0.png": SMALL["class 1/0.png"]}, "a")
    splits = load(path)
    assert sum(len(split.labels) for split in splits.values()) == 16


@pytest.mark.parametrize(
    ("number", "name"), [(9, "Deflate64"), (93, "Zstandard"), (98, "PPMd"), (77, "method 77")]
)
def test_a_compression_that_is_not_known_is_named(number, name, tmp_path, capsys):
    path = write_zip(tmp_path / "a.zip", SMALL)
    data = bytearray(path.read_bytes())
    # The method in the entry's header and in the central directory.
    for mark, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(mark) + place] = number
    path.write_bytes(data)
    assert refusal(capsys, path) == (
        f"{path}: entry 'class 1/0.png' is compressed by {name}, which Python cannot read; unpack "
        "the archive and give the folder"
    )


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
def test_names_that_differ_in_bytes_of_no_encoding_are_two_classes(tmp_path):
    path = tmp_path / "a.tar"
    splits = load(write_tar(path, layout([*CLASSES[:6], "caf\udce9", "caf\udce8"], 2)))
    assert {"caf\\xe9", "caf\\xe8"} <= set.union(*class_names(splits).values())


def test_labels_of_any_length_are_ordered_by_value():
    names = ["9" * 5000, "1" + "0" * 5000, "18446744073709551616", "7", "007"]
    assert natural_order(names).tolist() == [3, 4, 2, 1, 0]
    assert clean("é") == clean("é")
