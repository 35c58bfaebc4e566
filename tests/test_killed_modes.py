"""Every mode that writes, killed at ten random moments: the same command then completes."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.data.image_files import layout, write_folder, write_tar

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork"),
]

TESTS = Path(__file__).parent
ROOT = TESTS.parent
KILLS = 10


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with images, an archive of them, and a finished run of them."""
    folder = tmp_path_factory.mktemp("killed")
    write_folder(folder / "images", layout())
    write_tar(folder / "images.tar.gz", layout(), "w:gz")
    finish(folder / "cache", [*own_images(folder), f"--workdir={folder / 'run'}"])
    finish(folder / "cache", embed(folder, folder / "gallery.npz"))
    return folder


def own_images(place, name="images"):
    return [
        f"--config={TESTS / 'tiny_images_config.py'}",
        f"--config.data.path={place / name}",
    ]


def embed(place, output):
    images = f"--images={place / 'images'}"
    return ["--mode=embed", f"--workdir={place / 'run'}", images, f"--output={output}"]


def stored_teacher(place, target):
    """Training whose teacher's outputs are stored first."""
    fields = ["store_teacher=true", "data.views=3", "baseline={}"]
    config = f"--config={TESTS / 'tiny_config.py'}"
    return [config, *(f"--config.{field}" for field in fields), f"--workdir={target}"]


def search(place, target):
    query = place / "images" / "class 1" / "0.png"
    return [
        "--mode=search",
        f"--workdir={place / 'run'}",
        f"--gallery={place / 'gallery.npz'}",
        f"--query={query}",
        f"--output={target / 'near.html'}",
    ]


def sweep(place, target):
    config = f"--config={TESTS / 'tiny_config.py'}"
    grid = "--grid=learning_rate 1e-3 3e-3"
    return ["--mode=sweep", config, "--seeds=0", grid, "--workers=2", f"--workdir={target}"]


# Name -> the arguments that read from a place and write to a target: a copy of a finished run.
COMMANDS = {
    "prepare": lambda place, _: ["--mode=prepare", *own_images(place, "images.tar.gz")],
    "stored teacher": lambda place, target: stored_teacher(place, target / "new"),
    "eval": lambda place, target: ["--mode=eval", f"--workdir={target}"],
    "compare": lambda place, target: [
        "--mode=compare",
        *map(str, (place / "run", target)),
        f"--workdir={target / 'new'}",
    ],
    "export": lambda place, target: ["--mode=export", f"--workdir={target}"],
    "embed npz": lambda place, target: embed(place, target / "out.npz"),
    "embed parquet": lambda place, target: embed(place, target / "out.parquet"),
    "embed faiss": lambda place, target: embed(place, target / "out.faiss"),
    "search": search,
    "sweep": lambda place, target: sweep(place, target / "new"),
}


def start(cache, arguments):
    changed = {"DARKRANK_CACHE": str(cache), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-m", "darkrank_jax.main", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, **changed},
        start_new_session=True,
    )


def finish(cache, arguments):
    """Runs a command to its end; returns the seconds it took."""
    began = time.monotonic()
    process = start(cache, arguments)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert "Traceback" not in said
    return time.monotonic() - began


def kill(cache, arguments, seconds):
    """Kills a command, and the processes that it started, after some seconds."""
    process = start(cache, arguments)
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def names(folder):
    """Every file under a folder but TensorBoard's, whose names hold a time, and checkpoints' data.

    OCDBT names its files at random; the manifests of checkpoints list them.
    """
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {
        str(path) for path in paths if "tensorboard" not in path.parts and path.parent.name != "d"
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_command_killed_ten_times_completes_and_leaves_nothing_over(place, name):
    targets = [place / f"{name} {which}" for which in ("undisturbed", "killed")]
    for target in targets:
        shutil.copytree(place / "run", target)
    undisturbed, killed = (COMMANDS[name](place, target) for target in targets)
    # Of their own, or all that --mode prepare writes would be there before the first kill.
    caches = [place / f"{target.name} cache" for target in targets]
    seconds = finish(caches[0], undisturbed)
    chance = random.Random(name)
    for _ in range(KILLS):
        kill(caches[1], killed, chance.uniform(0.3, 1.0) * seconds)
    finish(caches[1], killed)
    assert names(targets[1]) == names(targets[0])
    for kind in ("archives", "inspections"):
        assert names(caches[1] / kind) == names(caches[0] / kind)
    assert not [each for each in names(caches[1]) if ".part-" in each]
