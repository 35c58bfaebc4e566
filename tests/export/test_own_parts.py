"""A run whose source and loss its own config file registers."""

import json

import numpy as np
import pytest
from PIL import Image

import darkrank_jax
from darkrank_jax import main as command_line
from darkrank_jax.config.file import load_config
from darkrank_jax.config.reader import read_run
from darkrank_jax.data import SOURCES
from darkrank_jax.errors import UserError
from darkrank_jax.losses import LOSSES
from tests.command import refusal
from tests.drawn_runs import save_drawn

OWN = """
import numpy as np
from darkrank_jax.data import SOURCES, Split
from darkrank_jax.losses import LOSSES, Loss, mean
from tests import tiny_config

def stripes(*, path: str, image_size: tuple, center_crop: float = 0.5):
    images = np.random.default_rng(0).integers(0, 256, (30, *image_size, 1), np.uint8)
    return {
        use: Split(images[i::3], np.arange(10, dtype=np.int32) // 2, tuple("abcde"))
        for i, use in enumerate(("train", "validation", "test"))
    }

def cosine_loss(embeddings, labels, class_weights, *, where=None, reduce_fn=mean):
    return reduce_fn((embeddings @ class_weights)[:, 0], where=where)

SOURCES["stripes"] = stripes
LOSSES["own_cosine"] = Loss(cosine_loss, ("embeddings", "labels", "class_weights"))

def get_config():
    config = tiny_config.small()
    config.data.source = "stripes"
    config.data.options = {}
    config.losses = {"own_cosine": {"weight": 1.0}}
    return config.lock()
"""


@pytest.fixture
def own(tmp_path):
    """The workdir, the config file that nobody has loaded, and two images of stripes."""
    file = tmp_path / "own.py"
    file.write_text(OWN)
    run = read_run(load_config(str(file)).to_dict())
    save_drawn(tmp_path / "run", run, num_classes=5)
    forget()
    rng = np.random.default_rng(1)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 256, (20, 30), np.uint8)).save(tmp_path / name)
    yield tmp_path
    forget()


def forget():
    SOURCES.pop("stripes", None)
    LOSSES.pop("own_cosine", None)


def test_it_is_loaded_embedded_and_searched_without_the_file(own, capsys):
    network = darkrank_jax.load_run(own / "run")
    assert network.facts["center_crop"] == 0.5
    assert network.embed([own / "a.png", own / "b.png"]).shape == (2, 8)
    # What was written before run.json had it needs the file.
    facts = json.loads((own / "run" / "run.json").read_text())
    assert facts.pop("class_weights") == ["own_cosine"]
    (own / "run" / "run.json").write_text(json.dumps(facts))
    with pytest.raises(
        UserError, match=r"^data\.source: 'stripes' is not known here; give the --c"
    ):
        darkrank_jax.load_run(own / "run")
    load_config(str(own / "own.py"))
    assert darkrank_jax.load_run(own / "run").facts == network.facts


@pytest.mark.slow
def test_its_images_need_the_file(own, capsys):
    export = ["--mode=export", f"--workdir={own / 'run'}", "--formats=safetensors"]
    assert refusal(capsys, *export) == (
        "data.source: 'stripes' is not known here; give the --config whose file registers it (in "
        "Python, import that file first)"
    )
    assert command_line.main(["main", f"--config={own / 'own.py'}", *export]) == 0
    assert (own / "run" / "export" / "model.safetensors").exists()
