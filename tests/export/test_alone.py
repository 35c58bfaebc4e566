"""Exports run where only what they need is installed: the snippets of docs/guides/export.md."""

import re
import subprocess
import sys
import textwrap
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import darkrank_jax
from darkrank_jax.export.command import export_run

GUIDE = Path(__file__).parent.parent.parent / "docs/guides/export.md"
# Hides every package that is not needed by one.
ONLY = """
import sys
HIDDEN = {hidden!r}
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HIDDEN:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hide())
import numpy
images = numpy.load("images.npy")
{snippet}
numpy.save("embeddings.npy", numpy.asarray(embeddings))
"""


def needed_by(distribution):
    """Top-level modules of a distribution and all that it requires."""
    modules, left, seen = set(), [distribution], set()
    while left:
        name = left.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        required = metadata.requires(name) or []
        left += [re.split(r"[^\w.-]", each)[0] for each in required if "extra ==" not in each]
    for module, distributions in metadata.packages_distributions().items():
        if {each.lower().replace("_", "-") for each in distributions} & seen:
            modules.add(module)
    return modules


@pytest.mark.slow
@pytest.mark.parametrize(("alone", "name"), [("jax", "stablehlo"), ("onnxruntime", "onnx")])
def test_a_file_runs_with_one_package_alone(alone, name, workdir, tmp_path):
    export_run(workdir, formats=name, output=str(tmp_path / "runs/demo/export"))
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1), np.uint8)
    np.save(tmp_path / "images.npy", images)
    code = GUIDE.read_text().split(f"with {alone} alone")[1].split(":\n\n", 1)[1]
    snippet = textwrap.dedent(re.match(r"((?:    .*\n|\n)+)", code)[1])
    # Which jax.export reads its files with, and the guide names.
    allowed = needed_by(alone) | ({"flatbuffers"} if alone == "jax" else set())
    assert alone in allowed
    hidden = set(metadata.packages_distributions()) - allowed | {"darkrank_jax"}
    assert {"flax", "darkrank_jax", "onnx", "PIL"} <= hidden
    script = ONLY.format(hidden=hidden, snippet=snippet)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    expected = darkrank_jax.load_run(workdir).embed(images)
    np.testing.assert_allclose(np.load(tmp_path / "embeddings.npy"), expected, atol=1e-5)
