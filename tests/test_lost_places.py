"""Too few open files, and workdirs that go away: one line with advice that fits, and no traces."""

import errno
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from darkrank_jax.files import read_error, write_error
from tests.command import limited
from tests.data.image_files import layout, write_folder

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the system has no ulimit")

TESTS = Path(__file__).parent


def start(place, *arguments, files=1024):
    """The command in a process of its own, with a limit on open files."""
    return subprocess.Popen(
        **limited(place, ("-n", files), *arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def said(process):
    """The lines on stderr but those of progress."""
    lines = process.communicate()[1].splitlines()
    return [line for line in lines if not re.match(r"\w+: (step \d|compil)", line)]


def training(place, *fields):
    """A run on images in files, which saves twice."""
    if not (place / "images").exists():
        write_folder(place / "images", layout())
    fields = [f"data.path={place / 'images'}", "steps=4", "eval_every=2", "log_every=1", *fields]
    config = f"--config={TESTS / 'tiny_images_config.py'}"
    return [config, *(f"--config.{field}" for field in fields), f"--workdir={place / 'run'}"]


@pytest.mark.parametrize(
    ("files", "field"),
    [
        (32, "data.num_workers=0"),
        pytest.param(16, "data.num_workers=12", marks=pytest.mark.slow),
        pytest.param(32, "data.num_workers=12", marks=pytest.mark.slow),
        pytest.param(24, "data.num_workers=40", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_training_with_too_few_open_files_ends_in_one_line(files, field, tmp_path):
    process = start(tmp_path, *training(tmp_path, field), files=files)
    (line,) = said(process)
    assert process.returncode == 2
    assert line.startswith("error: ")
    assert "raise the limit of open files (ulimit -n)" in line


@pytest.mark.slow
@pytest.mark.parametrize("files", [32, 64, 128])
@pytest.mark.parametrize("mode", ["eval", "export", "embed"])
def test_other_modes_with_few_open_files_work_or_end_in_one_line(mode, files, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    write_folder(tmp_path / "images", layout())
    of_embed = [f"--images={tmp_path / 'images'}", f"--output={tmp_path / 'gallery.npz'}"]
    workdir = run / "baseline" if mode != "eval" else run
    flags = of_embed if mode == "embed" else []
    process = start(tmp_path, f"--mode={mode}", f"--workdir={workdir}", *flags, files=files)
    lines = said(process)
    assert process.returncode in (0, 2)
    assert len(lines) == (1 if process.returncode else 0)
    assert all("(ulimit -n)" in line for line in lines)


def remove(path):
    """A folder in which another process may still write."""
    while path.exists():
        shutil.rmtree(path, ignore_errors=True)


@pytest.mark.parametrize(
    "lose",
    [
        remove,
        pytest.param(lambda path: path.rename(path.with_name("moved")), marks=pytest.mark.slow),
    ],
    ids=["deleted", "renamed"],
)
@pytest.mark.slow
def test_a_workdir_that_goes_away_during_training_ends_the_run_in_one_line(lose, tmp_path):
    process = start(tmp_path, *training(tmp_path, "steps=100000", "eval_every=50000"))
    log = tmp_path / "run" / "metrics.jsonl"
    while process.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.05)
    lose(tmp_path / "run")
    (line,) = said(process)
    assert process.returncode == 2
    assert line.startswith(f"error: {tmp_path / 'run'}")
    assert "its folder is missing; was it deleted or unmounted?" in line
    assert not log.exists()


WRITES = {
    "ENOSPC": "free some space, or ",
    "EDQUOT": "free some of your quota, or ",
    "EROFS": "mount its file system for writing, or ",
    "EIO": "its disk or mount failed; check it, or ",
    "ENOENT": "its folder is missing; was it deleted or unmounted?, or ",
    "EACCES": "",
}
LOST = ["ESTALE", "ENOTCONN", "ENODEV", "ENXIO", "ETIMEDOUT", "EHOSTDOWN"]
WRITES |= dict.fromkeys(LOST, "its file system is gone; mount it again, or ")


@pytest.mark.parametrize("name", WRITES)
def test_advice_on_writing_fits_the_error(name):
    number = getattr(errno, name)
    line = str(write_error(Path("a"), OSError(number, os.strerror(number))))
    reason = os.strerror(number)
    assert line == f"a: cannot be written ({reason}); {WRITES[name]}choose another place"


@pytest.mark.parametrize("name", [*LOST, "EIO", "EMFILE", "ENFILE", "ENOENT", "EACCES"])
def test_advice_on_reading_blames_the_file_only_where_it_is_at_fault(name):
    number = getattr(errno, name)
    line = str(read_error(Path("a"), OSError(number, os.strerror(number)), "copy it again"))
    assert line.endswith("; copy it again") == (name in ("ENOENT", "EACCES"))
