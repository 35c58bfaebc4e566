"""Names of an archive's entries."""

import zipfile

import pytest

from tests.data.image_files import (
    CLASSES,
    SMALL,
    class_names,
    layout,
    load,
    refusal,
    write_tar,
    write_zip,
)

pytestmark = pytest.mark.usefixtures("cache")


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
