"""Images that cannot be used, what is said of them, and what is remembered."""

import errno
import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkrank_jax import main as command_line
from darkrank_jax.distributed import processes
from darkrank_jax.errors import UserError
from tests.data.image_files import (
    CONFIG,
    WHOLE,
    WRITERS,
    drawn,
    encoded,
    layout,
    load,
    refusal,
    write_folder,
    write_table,
)

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize("mode", ["prepare", "train"])
def test_a_warning_has_the_same_words_in_every_mode(mode, tmp_path, capsys, monkeypatch):
    path = write_folder(tmp_path / "images", layout() | {"class 3/notes.txt": b""})
    ours = logging.getLogger("darkrank_jax")
    monkeypatch.setattr(ours, "handlers", [])
    monkeypatch.setattr(ours, "propagate", True)
    # What else the command sets for its whole process stays as it is here.
    monkeypatch.setattr(command_line.absl_logging, "set_verbosity", lambda level: None)
    monkeypatch.setattr(logging.getLogger("orbax"), "setLevel", lambda level: None)
    monkeypatch.setattr(sys, "path", [*sys.path])
    codes = []
    monkeypatch.setattr(processes, "leave", codes.append)
    monkeypatch.setattr(command_line, "printable_stream", lambda stream: stream)
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    # More classes than there are, so that nothing is trained.
    flags = [f"--config.data.path={path}", f"--mode={mode}", "--config.data.batch_size=400"]
    monkeypatch.setattr(sys, "argv", ["darkrank", CONFIG, f"--workdir={tmp_path / 'run'}", *flags])
    command_line.console()
    said = capsys.readouterr()
    lines = (said.out if mode == "prepare" else said.err).splitlines()
    assert f"{path}: 1 files are no images and left out; first class 3/notes.txt" in lines
    assert codes == [0 if mode == "prepare" else 2]


BROKEN = {
    "unreadable": (b"no image", "is no image of a known kind; delete it or save it again"),
    "zero-sized": (b"", "must not be empty; delete it or put the image there again"),
    "truncated": (WHOLE["class 2/1.png"][:-40], "cannot be decoded ("),
    "float": (
        encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"),
        "cannot be decoded (its pixels are floats",
    ),
    "absurd": (encoded(Image.new("1", (20000, 20000))), "cannot be decoded (Image size"),
    "same file": (WHOLE["class 7/3.png"], "is the same file as {path}/class 7/3.png, of class "),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("form", ["folder", "zip", "tar"])
def test_an_unusable_image_is_named(kind, form, tmp_path, capsys):
    data, reason = BROKEN[kind]
    path = WRITERS[form](tmp_path, WHOLE | {"class 2/1.png": data})
    line = refusal(capsys, path)
    assert line.startswith(f"{path}/class 2/1.png: {reason.format(path=path)}")
    count = 2 if kind == "same file" else 1
    assert f"({count} of 40 images are unusable, all listed in " in line
    assert line.endswith("; data.options.tolerated leaves out that share)")


def test_unusable_images_are_left_out_up_to_a_share(tmp_path, caplog, cache):
    spoilt = {"class 2/1.png": b"x", "class 3/0.png": b"", "class 3/2.png": WHOLE["class 3/1.png"]}
    path = write_folder(tmp_path, WHOLE | spoilt | {"class 3/notes.txt": b"", ".DS_Store": b""})
    with caplog.at_level(logging.WARNING):
        splits = load(path, tolerated=0.05)
    assert sum(len(split.labels) for split in splits.values()) == 37
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert said[0] == f"{path}: 1 files are no images and left out; first class 3/notes.txt"
    assert said[1].startswith("2 of 40 images are left out, all listed in ")
    assert f"first {path}/class 2/1.png: is no image" in said[1]
    assert "1 of 40 images are copies and left out" in said[2]
    assert f"first {path}/class 3/2.png: is the same file as {path}/class 3/1.png" in said[2]
    (found,) = (cache / "inspections").iterdir()
    assert str(found) in said[1]
    assert "class 3/0.png" in found.read_text()


def test_images_are_looked_at_once_and_again_when_they_change(tmp_path, monkeypatch, caplog):
    from darkrank_jax.data.files import inspection

    path, looked = write_folder(tmp_path, WHOLE), []
    original = inspection.decode

    def decode(file, name, **options):
        looked.append(name)
        return original(file, name, **options)

    monkeypatch.setattr(inspection, "decode", decode)
    load(path)
    assert len(looked) == 40
    load(path, seed=1)
    assert len(looked) == 40
    (path / "class 2/1.png").write_bytes(b"broken since")
    with pytest.raises(UserError, match=r"class 2/1\.png: is no image"):
        load(path)
    load(path, inspect_images=False)
    assert len(looked) == 80


def test_a_listed_image_that_was_saved_anew_is_looked_at_again(tmp_path):
    table = write_table(tmp_path, ".csv", columns=("path", "label"))
    whole = load(table)
    image = tmp_path / "class 2/1.png"
    image.write_bytes(b"broken since")
    for _ in range(2):
        with pytest.raises(UserError, match=r"class 2/1\.png: is no image"):
            load(table)
    image.unlink()
    with pytest.raises(UserError, match=r"class 2/1\.png: cannot be read \(No such file"):
        load(table)
    image.write_bytes(encoded(drawn(77)))
    again = load(table)
    for use, split in again.items():
        # A file that is another is other images, for whatever was stored of them.
        assert split.images.digest() != whole[use].images.digest()
        assert split.images.digest() == load(table)[use].images.digest()


@pytest.mark.parametrize("fault", [errno.EIO, errno.EACCES])
def test_a_file_that_could_not_be_read_is_not_taken_for_broken(fault, tmp_path, monkeypatch):
    path, opened = write_folder(tmp_path, WHOLE), os.open

    def failing(file, *arguments, **options):
        if Path(os.fsdecode(file)).match("class 2/1.png"):
            raise OSError(fault, os.strerror(fault))
        return opened(file, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", failing)
        line = rf"class 2/1\.png: cannot be read \({os.strerror(fault)}\).* \(1 of 40 images are un"
        with pytest.raises(UserError, match=line):
            load(path)
        left = load(path, tolerated=0.05)
    assert sum(len(split.labels) for split in left.values()) == 39
    assert sum(len(split.labels) for split in load(path).values()) == 40


def test_a_tar_that_could_not_be_read_is_not_taken_for_broken(tmp_path, monkeypatch):
    path = WRITERS["tar"](tmp_path, WHOLE)
    original, opened = os.open, []

    def failing(file, *arguments, **options):
        if Path(os.fsdecode(file)) == path:
            opened.append(file)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
        return original(file, *arguments, **options)

    with monkeypatch.context() as patched:
        # Listing opens it otherwise.
        patched.setattr(os, "open", failing)
        with pytest.raises(UserError, match=r"images\.tar: cannot be read \(No such file"):
            load(path)
        assert len(opened) == 40
    assert sum(len(split.labels) for split in load(path).values()) == 40


def test_an_inspection_that_is_cut_off_is_not_taken_for_a_whole_one(tmp_path, monkeypatch, cache):
    from darkrank_jax.data.files import inspection

    path = write_folder(tmp_path, WHOLE)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(inspection.json, "dumps", stop)
        with pytest.raises(KeyboardInterrupt):
            load(path)
    assert not list((cache / "inspections").iterdir())
    load(path)
