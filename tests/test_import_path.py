"""Files of others in the current folder do not run because a command was started there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Not contextlib, which `python -m` itself imports before it comes to this package.
# Of the standard library, of what is needed, and of what may be missing.
POISON = (
    "typing",
    "logging",
    "json",
    "numpy",
    "jax",
    "absl",
    "cv2",
    "ml_collections",
)
POISON += ("pyarrow", "onnxruntime", "faiss")


@pytest.fixture
def folder(tmp_path):
    """A folder that anybody may have filled."""
    for name in POISON:
        (tmp_path / f"{name}.py").write_text(f"print('{name} of the current folder runs')\n")
    (tmp_path / "neighbour.py").write_text(
        "import numpy as np\n"
        "def make(step, images):\n"
        "    images[:] = step\n"
        "    return np.__name__\n"
        "STEPS = 3\n"
    )
    (tmp_path / "own.py").write_text(
        "import neighbour\n"
        "from tests import tiny_config\n"
        "def get_config():\n"
        "    config = tiny_config.get_config()\n"
        "    config.steps = neighbour.STEPS\n"
        "    return config\n"
    )
    return tmp_path


def output_of(folder, *arguments):
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "of the current folder runs" not in said
    return said


# Installed packages come first also where a config may import what lies beside it.
SCRIPT = "import sys; sys.path.remove(''); from darkrank_jax.main import console; console()"


@pytest.mark.slow
@pytest.mark.parametrize("start", [("-m", "darkrank_jax.main"), ("-c", SCRIPT)])
def test_a_command_runs_no_file_of_the_current_folder_but_a_config_imports_there(folder, start):
    said = output_of(folder, *start, "--config=own.py", "--mode=prepare")
    assert "glyphs" in said


WORKERS = """
import os
import sys
from darkrank_jax.data.loading.shared_memory import SharedMemory
from darkrank_jax.data.loading.workers import made_by_workers
from darkrank_jax.import_path import current_folder_last
with current_folder_last():
    import neighbour
with SharedMemory() as memory:
    for name, images in made_by_workers(neighbour.make, (2, 2), range(3, 6), 2, memory):
        print(name, images.tolist())
assert os.getcwd() not in sys.path
"""


def test_a_worker_runs_no_file_of_the_current_folder_but_imports_a_source_there(folder):
    said = output_of(folder, "-P", "-c", WORKERS)
    expected = [f"numpy {[[step, step], [step, step]]}" for step in (3, 4, 5)]
    assert said.splitlines() == expected


def test_a_checkout_is_found_though_it_is_searched_last():
    done = subprocess.run(
        [sys.executable, "-m", "darkrank_jax.main", "--version"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert done.stdout.startswith("darkrank_jax "), done.stderr
