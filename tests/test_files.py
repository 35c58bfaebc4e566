"""Files written whole or not at all."""

import csv
import errno
import os
import re
import stat
import subprocess
import sys

import pytest

from darkrank_jax import files
from darkrank_jax.errors import UserError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_replacing_puts_the_new_file_in_place(tmp_path):
    path = tmp_path / "made" / "a.npz"
    with files.replacing(path) as beside:
        assert beside.suffix == ".npz"
        beside.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["a.npz"]


@pytest.mark.parametrize("folder", [False, True])
def test_replacing_keeps_the_earlier_file_if_the_block_fails(tmp_path, folder):
    path = tmp_path / "a"
    if not folder:
        path.write_text("earlier")

    def write():
        with files.replacing(path, folder=folder) as beside:
            (beside / "x" if folder else beside).write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=r"a: cannot be written \(No space.*free some space"):
        write()
    assert names(tmp_path) == ([] if folder else ["a"])
    if not folder:
        assert path.read_text() == "earlier"


def test_replacing_writes_a_folder_with_all_that_is_in_it(tmp_path):
    with files.replacing(tmp_path / "store", folder=True) as beside:
        (beside / "inner").mkdir()
        (beside / "inner" / "x").write_text("1")
    assert (tmp_path / "store" / "inner" / "x").read_text() == "1"
    assert names(tmp_path) == ["store"]


def test_replacing_gives_others_the_right_to_read_that_the_umask_gives(tmp_path):
    path = tmp_path / "a"
    with files.replacing(path) as beside:
        beside.chmod(0o600)
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    path.chmod(0o640)
    files.write_text(path, "x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_replacing_follows_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    files.write_text(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "x"


def test_replacing_refuses_what_is_not_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe: must be a regular file"):
        files.write_text(tmp_path / "pipe", "x")
    with pytest.raises(UserError, match="must be a regular file"):
        files.write_text(tmp_path, "x")


def test_two_writers_in_one_process_do_not_collide(tmp_path):
    path = tmp_path / "a"
    with files.replacing(path) as first, files.replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert names(tmp_path) == ["a"]


def test_a_name_as_long_as_the_system_allows_is_written(tmp_path):
    path = tmp_path / ("n" * 251 + ".npz")
    files.write_text(path, "x")
    assert path.read_text() == "x"


def test_remove_unfinished_removes_files_of_ended_processes_only(tmp_path):
    child = f"""
import os, pathlib
from darkrank_jax import files
folder = pathlib.Path({str(tmp_path)!r})
begun = [files.replacing(folder / name, folder=name == "b") for name in "ab"]
for each in begun:
    each.__enter__()
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", child], check=True)
    left = names(tmp_path)
    assert len(left) == 2
    assert all(re.match(r"\.part-", name) for name in left)
    (tmp_path / ".part-00000000-1-0").touch()  # Of another machine.
    (tmp_path / "a.part").touch()  # A user's.
    with files.replacing(tmp_path / "mine") as beside:
        files.remove_unfinished(tmp_path)
        assert names(tmp_path) == sorted([".part-00000000-1-0", "a.part", beside.name])
    files.remove_unfinished(tmp_path / "missing")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "must exist"),
        (b"", "must not be empty"),
        (b'{"a": ', "is damaged"),
        (b"\xff\x00", "damaged"),
    ],
)
def test_read_json_names_the_file_and_the_advice(tmp_path, content, said):
    path = tmp_path / "facts.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"facts.json: .*{said}.*; train it again"):
        files.read_json(path, "train it again")


def test_read_json_refuses_nesting_beyond_the_stack(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="damaged"):
        files.read_json(tmp_path / "a.json", "delete it")


def test_text_with_undecodable_names_is_written_as_utf8(tmp_path):
    files.write_text(tmp_path / "a", "caf\udce9 ü")
    assert (tmp_path / "a").read_bytes() == b"caf\\udce9 \xc3\xbc"


def test_a_cell_that_a_spreadsheet_would_run_is_text(tmp_path):
    files.write_csv(tmp_path / "new" / "a.csv", ["name", "=b"], [["=1+1", -0.5], ["a,b", "@x"]])
    with (tmp_path / "new" / "a.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["name", "'=b"], ["'=1+1", "-0.5"], ["a,b", "'@x"]]


def test_a_table_that_cannot_be_written_leaves_the_earlier_one(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    files.write_csv(path, ["a"], [[1]])

    def full(place):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "sync", full)
    with pytest.raises(UserError, match=r"a\.csv: cannot be written \(No space left on device\); "):
        files.write_csv(path, ["a"], [[2]])
    assert path.read_text() == "a\n1\n"
    assert list(tmp_path.iterdir()) == [path]
