"""Which files of a folder or an archive are listed, and the class and split of each."""

import os

import pytest

from darkrank_jax.data.files.listing import clean, natural_order
from tests.data.image_files import (
    CLASSES,
    SMALL,
    class_names,
    layout,
    load,
    refusal,
    write_tar,
)

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".csv", ""])
def test_a_pipe_as_the_source_is_refused(suffix, tmp_path, capsys):
    path = tmp_path / f"pipe{suffix}"
    os.mkfifo(path)
    line = "must exist; give the table" if suffix == ".csv" else "must be a folder or a file (got a"
    assert refusal(capsys, path).startswith(f"{path}: {line}")


def test_of_a_tar_entry_that_is_there_twice_the_last_counts(tmp_path):
    """As where it is unpacked; such entries are how a tar is updated."""
    path = write_tar(tmp_path / "a.tar", SMALL | {"class 1/0.png": b"broken"})
    write_tar(path, {"class 1/0.png": SMALL["class 1/0.png"]}, "a")
    splits = load(path)
    assert sum(len(split.labels) for split in splits.values()) == 16


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
def test_names_that_differ_in_bytes_of_no_encoding_are_two_classes(tmp_path):
    path = tmp_path / "a.tar"
    splits = load(write_tar(path, layout([*CLASSES[:6], "caf\udce9", "caf\udce8"], 2)))
    assert {"caf\\xe9", "caf\\xe8"} <= set.union(*class_names(splits).values())


def test_labels_of_any_length_are_ordered_by_value():
    names = ["9" * 5000, "1" + "0" * 5000, "18446744073709551616", "7", "007"]
    assert natural_order(names).tolist() == [3, 4, 2, 1, 0]
    assert clean("é") == clean("é")
