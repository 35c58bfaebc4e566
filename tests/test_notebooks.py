"""The notebooks run from top to bottom, and are kept without outputs."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs import default
from darkrank_jax.config.reader import read_run
from darkrank_jax.runs.splits import Splits

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_no_outputs(path):
    cells = json.loads(path.read_text())["cells"]
    assert cells
    for cell in cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("own", [False, True])
def test_the_config_of_the_notebook_is_of_the_built_in_sources(own, tmp_path, monkeypatch):
    """The cells up to the config alone, with characters and with a folder of class folders.

    Within a checkout, and opened alone where the package is installed.
    """
    for label in range(8 * own):
        for number in range(2):
            pixels = np.random.default_rng([label, number]).integers(0, 256, (9, 14, 3), np.uint8)
            path = tmp_path / "images" / str(label) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("DARKRANK_CACHE", str(tmp_path / "cache"))
    checkout = Path(__file__).parent.parent if own else tmp_path / "nowhere"
    monkeypatch.setenv("DARKRANK_CHECKOUT", str(checkout))
    monkeypatch.setenv("DARKRANK_IMAGES", str(tmp_path / "images") if own else "")
    (path,) = (path for path in NOTEBOOKS if path.stem == "darkrank_colab")
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    codes = ["".join(cell["source"]) for cell in cells]
    (last,) = (place for place, code in enumerate(codes) if "load_config(" in code)
    names = {}
    exec(compile("\n".join(codes[: last + 1]), path.name, "exec"), names)
    run = read_run(names["config"].to_dict())
    assert run.losses["darkrank_soft"] == default.whole_lists() | {"list_size": None}
    assert run.data.source == run.teacher.data.source == ("images" if own else "glyphs")
    if own:
        assert Splits()[run.data]["train"].images[:].shape == (8, 32, 32, 3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(path.parent.parent))
    monkeypatch.setenv("DARKRANK_CHECKOUT", str(path.parent.parent))
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("DARKRANK_STEPS", "15")
    monkeypatch.setenv("DARKRANK_WORKDIR", str(tmp_path / "run"))
    # The settings of the tests are not those of a reader.
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3")
    client.execute(cwd=str(tmp_path))
    if path.stem == "darkrank_colab":
        assert (tmp_path / "run" / "export" / "model.onnx").exists()
