"""What people install: sdist and wheel, made from this checkout."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import darkrank_jax

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
    assert "Requires-Dist: jax>=" in text
    assert {name.split("/")[0] for name in names} == {
        "darkrank_jax",
        f"darkrank_jax-{VERSION}.dist-info",
    }
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "darkrank_jax").rglob("*.py")}
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


@pytest.mark.slow
def test_the_installed_command_trains_elsewhere(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target]
    subprocess.run([*pip, wheel], check=True)
    for folder in ("configs", "tests"):
        (tmp_path / folder).mkdir()
    for file in ("configs/default.py", "tests/tiny_config.py"):
        (tmp_path / file).write_text((ROOT / file).read_text())
    command = [target / "bin" / "darkrank", "--config=tests/tiny_config.py", "--workdir=run"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(target)}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "results.json").exists()


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "darkrank_soft_loss" in (tmp_path / "site" / "api" / "losses" / "index.html").read_text()
