"""Pretrained ResNets against another implementation, and what a fitting file must hold."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from darkrank_jax.models import MODELS
from darkrank_jax.models.backbones.resnet import ResNet
from darkrank_jax.models.pretrained import detect_resnet, load_linear, load_resnet, load_weights
from tests.models.backbones.architectures import shapes
from tests.models.resnet_files import BASIC, GOLDEN
from tests.models.saved_weights import refusal, same, saved

BOTTLENECK = ResNet((3, 4, 2, 2), True, width=8)


@pytest.mark.parametrize(
    ("name", "backbone"), [("resnet_basic", BASIC), ("resnet_bottleneck", BOTTLENECK)]
)
def test_every_stage_agrees_with_another_implementation(name, backbone):
    path = GOLDEN / f"{name}.safetensors"
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        golden = dict(arrays)
    variables = load_resnet(path)
    assert detect_resnet(path) == backbone
    same(variables, load_resnet(path, backbone))
    maps = jax.jit(lambda v, x: backbone.apply(v, x, train=False))(
        variables, jnp.asarray(golden["images_nhwc"])
    )
    assert len(maps) == 5
    for stage, found in enumerate(maps):
        expected = golden[f"stage_{stage}"]
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(maps[-1].mean(axis=(1, 2)), golden["pooled"], rtol=1e-4, atol=1e-4)


def test_a_linear_layer_is_read_by_its_name(tmp_path):
    path = tmp_path / "head.safetensors"
    weight, bias = np.arange(6.0).reshape(2, 3), np.array([7.0, 8.0])
    save_file(
        {"fc.weight": weight, "fc.bias": bias, "embed.weight": weight, "n.weight": bias}, path
    )
    layer = load_linear(path, "fc")
    np.testing.assert_array_equal(layer["kernel"], weight.T)
    np.testing.assert_array_equal(layer["bias"], bias)
    np.testing.assert_array_equal(load_linear(path, "embed")["bias"], [0, 0])
    for name in ("head", "n"):
        line = refusal(load_linear, path, name)
        assert line == f"{path}: has no linear layer {name!r}; it has embed, fc"


def test_negative_variances_are_refused(tensors, tmp_path):
    tensors["layer1.0.bn1.running_var"][3] = -0.5
    path = saved(tensors, tmp_path / "negative.safetensors")
    assert refusal(load_resnet, path).startswith(
        f"{path}: variances must be at least 0 (got -0.5 in layer1.0.bn1.running_var); the file"
    )


def test_a_heads_integers_and_sizes_are_checked(tmp_path):
    layer = {"fc.weight": np.ones((2, 3), np.int8), "fc.bias": np.ones(2)}
    path = saved(layer, tmp_path / "head.safetensors")
    assert "(got I8 in fc.weight)" in refusal(load_linear, path, "fc")
    saved({"fc.weight": np.ones((2, 3)), "fc.bias": np.ones(3)}, path)
    assert "fc.bias must be of shape (2,) (got (3,))" in refusal(load_linear, path, "fc")
    saved({"fc.weight": np.ones((2, 3)), "fc.bias": np.array([0, np.nan])}, path)
    assert "(got NaN or infinity in fc.bias)" in refusal(load_linear, path, "fc")


@pytest.mark.skipif("DARKRANK_WEIGHTS" not in os.environ, reason="DARKRANK_WEIGHTS is not set")
@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite2", "mobilenet_v2"])
def test_weights_of_imagenet_fill_every_variable(name):
    path = Path(os.environ["DARKRANK_WEIGHTS"]) / f"{name}.safetensors"
    _, expected = shapes(MODELS[name](), size=(97, 97))
    found = load_weights(path, MODELS[name](), image_shape=(97, 97, 3))
    assert jax.tree.map(np.shape, found) == jax.tree.map(np.shape, expected)
