"""What is reported where only what `pip install darkrank-jax` brings is there."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from darkrank_jax import extras

ROOT = Path(__file__).parent.parent
# Hides modules as if they were not installed.
HIDE = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
class Bare:
    @staticmethod
    def find_spec(name, *_):
        return None if name.split(".")[0] in {hidden!r} else spec(name, *_)
import importlib.util
spec = importlib.util.find_spec
importlib.util.find_spec = Bare.find_spec
sys.meta_path.insert(0, Hide())
"""


def output_without(hidden, code):
    """The exit code and the output of a program that finds some modules missing."""
    program = HIDE.format(hidden=set(hidden)) + code
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("extra", ["train", "export"])
def test_the_table_holds_the_modules_of_the_requirements(extra):
    name = {"train": "requirements.txt", "export": "requirements-export.txt"}[extra]
    lines = [line for line in (ROOT / name).read_text().splitlines() if line[:1].isalpha()]
    wanted = {re.split(r"[><=\[]", line)[0].lower().replace("_", "-") for line in lines}
    found = {
        distribution.lower().replace("_", "-")
        for module in extras.EXTRAS[extra]
        for distribution in metadata.packages_distributions()[module]
    }
    assert wanted - {"jax", "numpy"} == found & wanted
    brought = metadata.packages_distributions()
    for module in extras.EXTRAS[extra]:
        assert {each.lower().replace("_", "-") for each in brought[module]} & wanted, module


PARTS = (
    "models",
    "data",
    "evaluation",
    "optimizers",
    "config.file",
    "training.step",
    "export.card",
)


def test_a_part_whose_library_is_missing_names_the_extra():
    code = f"""
import importlib
import darkrank_jax
from darkrank_jax import losses
for part in {PARTS!r}:
    try:
        importlib.import_module("darkrank_jax." + part)
    except ImportError as error:
        print(error)
try:
    darkrank_jax.train
except ImportError as error:
    print(error)
"""
    status, said = output_without(("flax", "cv2"), code)
    end = 'needs cv2, flax; run `pip install "darkrank-jax[train]"`'
    first = [part.partition(".")[0] for part in PARTS]
    assert said.splitlines() == [f"darkrank_jax.{part}: {end}" for part in (*first, "api")]
    assert status == 0


def test_the_command_without_its_libraries_ends_in_a_line():
    status, said = output_without(extras.EXTRAS["train"], "import darkrank_jax.main")
    assert (status, said.count("\n")) == (2, 1)
    assert said.startswith("error: darkrank: needs absl, cv2, ")
    assert 'run `pip install "darkrank-jax[train]"`' in said


def test_nothing_is_reported_where_everything_is_there():
    code = "import darkrank_jax.models, sys; print([type(x).__name__ for x in sys.meta_path])"
    status, said = output_without((), code)
    assert status == 0
    assert "_ExtraCheck" not in said
