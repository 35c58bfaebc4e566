"""Which files of a folder are listed."""

import os
import socket

import pytest

from tests.data.image_files import (
    CLASSES,
    SMALL,
    WHOLE,
    WRITERS,
    class_names,
    layout,
    load,
    refusal,
    write_folder,
)

pytestmark = pytest.mark.usefixtures("cache")


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
