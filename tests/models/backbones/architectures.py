"""What holds for every architecture: published sizes, and the values of other implementations."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from darkrank_jax.models import MODELS
from darkrank_jax.models.pretrained import load_weights

GOLDEN = Path(__file__).parent.parent.parent / "golden"


def every_network(module, *, slow=()):
    """Tests of all networks of MODELS whose backbone is of a module; some take long to trace."""
    names = [name for name in MODELS if type(MODELS[name]()).__module__ == module.__name__]
    assert names
    return pytest.mark.parametrize(
        "name", [pytest.param(n, marks=pytest.mark.slow if n in slow else ()) for n in names]
    )


def load_rule():
    """tests/golden/models.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("golden_models", GOLDEN / "models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shapes(backbone, size=(224, 224), train=False):
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return jax.eval_shape(lambda x: backbone.init_with_output(keys, x, train=train), images)


def check_published(name, published, classifier, shapes_of_maps):
    """The count of parameters, less those of its classifier, and side and channels of each map."""
    maps, variables = shapes(MODELS[name]())
    leaves = jax.tree.leaves(variables["params"])
    assert sum(leaf.size for leaf in leaves) == published - classifier
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
    assert [each.shape for each in maps] == [(2, side, side, c) for side, c in shapes_of_maps]


def check_outputs(name, folder, kept=lambda maps: maps[-1:], backbone=None, **options):
    """Pooled maps against those of another implementation, narrow.

    Its names, its layout, its values: all go through the loader of weights.
    """
    rule, golden = load_rule(), np.load(GOLDEN / "models.npz")
    tensors = {}
    for line in golden[f"{name}/tensors"]:
        key, shape = line.split(" ")
        tensors[key] = rule.parameter(key, tuple(map(int, shape.split("x"))))
    path, side = folder / "weights.safetensors", int(golden[f"{name}/side"])
    save_file(tensors, path)
    backbone = MODELS[name](**options) if backbone is None else backbone
    variables = load_weights(path, backbone, image_shape=(side, side, 3))
    images = jnp.asarray(rule.images(side))
    maps = jax.jit(lambda v, x: backbone.apply(v, x, train=False))(variables, images)
    found = np.concatenate([each.mean(axis=(1, 2)) for each in kept(maps)], axis=1)
    expected = golden[f"{name}/output"]
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
