"""Networks that embed."""

import jax
import numpy as np
import pytest
from flax import linen as nn

from darkrank_jax.config.reader import read_run
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training.network import Network, embed, embed_fn, make_ensemble
from tests.small_runs import changed, ensemble, imported, read, small

pytestmark = pytest.mark.usefixtures("source")


def test_embeds_on_devices_that_do_not_divide_the_batch():
    """The model is the mean of an image; with three devices a batch of 256 is filled up."""

    class Means(Network):
        def embed_step(self):
            return lambda variables, images: {"embeddings": images.mean((1, 2)) + variables["add"]}

    images = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 2), np.uint8)
    network = Means(None, None, {"add": np.float32(3)}, 0, 0.0, None, 2)
    embed = embed_fn(network, make_mesh(3, jax.devices()[:3]))
    np.testing.assert_allclose(embed(images), images.mean((1, 2)) + 3, rtol=1e-6)


class Brightness(nn.Module):
    """A network that costs no compilation: embeds an image as the brightness of its channels."""

    power: float

    def __call__(self, images, train):
        return {"embeddings": (images**self.power).mean(axis=(1, 2))}


def test_an_ensemble_embeds_as_its_members_do_combined(tmp_path):
    """Each with its own preprocessing."""
    split, mesh = Splits()[read(small()).data]["test"], make_mesh(8)
    configs = {"plain": imported(), "dim": changed(imported(), data__mean=0.1, data__std=2.0)}
    run = read_run(ensemble("mean", **configs).to_dict(), "teacher")
    empty = {"params": {"model": {}}, "batch_stats": {}}
    members = {
        name: Network(
            member, Brightness({"plain": 1.0, "dim": 2.0}[name]), empty, 0, 1.5, tmp_path, 1
        )
        for name, member in run.ensemble.items()
    }
    together = make_ensemble(run, members, tmp_path)
    pixels = split.images.astype(np.float64) / 255
    mean, std = (np.array(x) for x in (run.ensemble["plain"].data.mean, (0.229, 0.224, 0.225)))
    first = ((pixels - mean) / std).mean(axis=(1, 2))
    second = (((pixels - 0.1) / 2.0) ** 2).mean(axis=(1, 2))
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second)]
    expected = sum(units) / np.linalg.norm(sum(units), axis=1, keepdims=True)
    np.testing.assert_allclose(embed(together, split, mesh), expected, atol=1e-5)
    assert together.seconds == 3.0
