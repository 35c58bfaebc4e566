"""What people install: sdist and wheel, made from this checkout."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import darkrank_jax
from tests.data.image_files import layout, write_folder

ROOT = Path(__file__).parent.parent
VERSION = darkrank_jax.__version__


def test_the_version_is_stated_once_more_only_where_people_cite():
    assert f"\nversion: {VERSION}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {VERSION}" in (ROOT / "CHANGELOG.md").read_text()
    assert [part.isdecimal() for part in VERSION.split(".")] == [True] * 3


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with both."""
    folder = tmp_path_factory.mktemp("dist")
    # Without a checkout's leftovers.
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for file in files:
        if (ROOT / file).is_file():
            (folder / "source" / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / file).write_bytes((ROOT / file).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, "source"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry = next(name for name in names if name.endswith("entry_points.txt"))
        assert "darkrank = darkrank_jax.main:console" in archive.read(entry).decode()
        metadata = next(name for name in names if name.endswith("METADATA"))
        text = archive.read(metadata).decode()
    assert f"Version: {VERSION}\n" in text
    assert "License-Expression: Apache-2.0" in text
    required = [line.split(" ", 1)[1] for line in text.splitlines() if "Requires-Dist" in line]
    assert [each for each in required if "extra" not in each] == ["jax>=0.8", "numpy>=2.0"]
    extras = {each.rpartition("extra == ")[2].strip('"') for each in required if "extra" in each}
    assert extras == {"all", "cuda", "export", "tpu", "train"}
    assert {name.split("/")[0] for name in names} == {
        "darkrank_jax",
        f"darkrank_jax-{VERSION}.dist-info",
    }
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "darkrank_jax").rglob("*.py")}
    modules |= {
        f"darkrank_jax/configs/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")
    }
    assert modules <= set(names)
    kept = {"darkrank_jax/py.typed", "darkrank_jax/evaluation/report/template.html"}
    assert kept <= set(names)


@pytest.mark.slow
def test_the_sdist_holds_what_builds_and_tests_it(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for file in (
        "requirements.txt",
        "configs/demo.py",
        "tests/conftest.py",
        "LICENSE",
        "mkdocs.yml",
    ):
        assert file in names


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The commands of an environment that has the wheel, and nothing of the checkout.

    Its other packages are those of this one; `make package` takes them from the registry.
    """
    (wheel,) = built.glob("*.whl")
    place = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    (packages,) = place.glob("lib/*/site-packages")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", packages]
    subprocess.run([*pip, wheel], check=True)
    others = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (packages / "others.pth").write_text("\n".join(others))
    # pip wrote it for the interpreter that ran it.
    command = place / "bin" / "darkrank"
    start = "import sys\nfrom darkrank_jax.main import console\nsys.exit(console())\n"
    command.write_text(f"#!{place / 'bin' / 'python'}\n{start}")
    command.chmod(0o755)
    return place / "bin"


def output_of(folder, *command):
    """What a command prints in a folder, without what this process was started with."""
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, (command, done.stdout[-1000:], done.stderr[-2000:])
    return done.stdout


@pytest.mark.slow
def test_from_a_wheel_every_mode_runs_in_an_empty_folder(installed, tmp_path):
    command = installed / "darkrank"
    before = os.umask(0o022)
    try:
        write_folder(tmp_path / "images", layout())
        (tmp_path / "tiny.py").write_text((ROOT / "tests" / "tiny_config.py").read_text())
        said = output_of(tmp_path, installed / "python", "-c", WHERE).split()
        assert said[0].startswith(str(installed.parent))
        assert {"default", "demo", "own_images"} <= set(said[1:])
        named = [command, "--mode=prepare", "--config=own_images", "--config.data.path=images"]
        assert "classes" in output_of(tmp_path, *named)
        output_of(tmp_path, command, "--config=tiny.py")
        workdir = "--workdir=runs/tiny"
        output_of(tmp_path, command, "--mode=eval", workdir)
        output_of(tmp_path, command, "--mode=export", workdir)
        gallery = ("--images=images", "--output=gallery.npz")
        output_of(tmp_path, command, "--mode=embed", workdir, *gallery)
        query = next((tmp_path / "images").rglob("*.png"))
        asked = ("--gallery=gallery.npz", f"--query={query}", "--output=near.html")
        output_of(tmp_path, command, "--mode=search", workdir, *asked)
        quick = ("--config.teacher={}", "--config.losses={'triplet': {'weight': 1.0}}")
        grid = ("--grid=learning_rate 1e-3 1e-2", "--seeds=0")
        said = output_of(tmp_path, command, "--mode=sweep", "--config=tiny.py", *quick, *grid)
        assert said.count(": finished") == 2
    finally:
        os.umask(before)
    written = {path for path in tmp_path.rglob("*") if path.is_file()}
    for name in (
        "runs/tiny/results.json",
        "runs/tiny/export/model.safetensors",
        "runs/tiny/export/model.onnx",
        "runs/tiny_sweep/results.md",
        "near.html",
    ):
        assert tmp_path / name in written
    # Readable by others; caches are of one user.
    kept = {path for path in written if ".cache" not in path.parts}
    assert not [path for path in kept if path.stat().st_mode & 0o044 != 0o044]


# A program of somebody who installed it.
WHERE = """
import darkrank_jax
from darkrank_jax import configs
from darkrank_jax.configs import default
assert darkrank_jax.load_config(default).steps == darkrank_jax.load_config("default").steps
print(darkrank_jax.__file__, *configs.names())
"""


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "darkrank_soft_loss" in (tmp_path / "site" / "api" / "losses" / "index.html").read_text()
