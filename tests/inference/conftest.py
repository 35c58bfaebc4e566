"""A drawn network, and a gallery that it embedded."""

import numpy as np
import pytest
from PIL import Image

import darkrank_jax
from darkrank_jax.inference.search import embed_images

PIXELS = np.random.default_rng(2).integers(0, 256, (16, 16), np.uint8)


@pytest.fixture(scope="session")
def network(workdir):
    return darkrank_jax.load_run(workdir)


@pytest.fixture(scope="session")
def gallery(workdir, pictures, tmp_path_factory):
    path = tmp_path_factory.mktemp("gallery") / "gallery.npz"
    embed_images(workdir, images=str(pictures), output=str(path))
    return path


@pytest.fixture
def images(tmp_path):
    """Three pictures, one of which is broken, under names that a terminal would act on."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a\x1b]0;owned\x07.png", "caf\udce9.png"):
        Image.fromarray(PIXELS[:: -1 if "caf" in name else 1]).save(tmp_path / "picture.png")
        (folder / name).write_bytes((tmp_path / "picture.png").read_bytes())
    (folder / "broken.png").write_text("no image")
    return folder
