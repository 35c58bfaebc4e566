"""ConvNeXts against Hugging Face's and torchvision's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transformer_files import CONVNEXTS, SIZES, loaded, small

from darkrank_jax.models.backbones import convnext
from tests.marks import slow_but
from tests.models.backbones.architectures import (
    check_outputs,
    check_published,
    every_network,
)

# Torchvision's and timm's count of parameters, what its classifier of 1000 classes has of them, and
# side and channels of each map of an image of 224 pixels.
PUBLISHED = {
    # A norm before the linear layer.
    "convnext_tiny": (
        28_589_128,
        2 * 768 + 1000 * (768 + 1),
        [(56, 96), (56, 96), (28, 192), (14, 384), (7, 768)],
    ),
    "convnext_small": (
        50_223_688,
        2 * 768 + 1000 * (768 + 1),
        [(56, 96), (56, 96), (28, 192), (14, 384), (7, 768)],
    ),
    "convnext_base": (
        88_591_464,
        2 * 1024 + 1000 * (1024 + 1),
        [(56, 128), (56, 128), (28, 256), (14, 512), (7, 1024)],
    ),
    "convnext_large": (
        197_767_336,
        2 * 1536 + 1000 * (1536 + 1),
        [(56, 192), (56, 192), (28, 384), (14, 768), (7, 1536)],
    ),
    "convnextv2_tiny": (
        28_635_496,
        2 * 768 + 1000 * (768 + 1),
        [(56, 96), (56, 96), (28, 192), (14, 384), (7, 768)],
    ),
    "convnextv2_base": (
        88_717_800,
        2 * 1024 + 1000 * (1024 + 1),
        [(56, 128), (56, 128), (28, 256), (14, 512), (7, 1024)],
    ),
    "convnextv2_large": (
        197_956_840,
        2 * 1536 + 1000 * (1536 + 1),
        [(56, 192), (56, 192), (28, 384), (14, 768), (7, 1536)],
    ),
}
# Take long to trace; others of their kind stay.
DEEP = {"convnext_base", "convnext_large", "convnext_small", "convnextv2_base", "convnextv2_large"}


@every_network(convnext, slow=DEEP)
def test_parameters_and_shapes_are_those_published(name):
    check_published(name, *PUBLISHED[name])


@pytest.mark.slow
def test_outputs_agree_with_another_implementation(tmp_path):
    check_outputs("convnext_tiny", tmp_path)


@pytest.mark.parametrize("name", slow_but({"convnextv2"}, CONVNEXTS))
def test_convnexts_agree_with_transformers_at_two_sizes(name, rule, golden, files, tmp_path):
    backbone = small(name)
    variables = loaded(files(name), tmp_path, backbone)
    forward = jax.jit(lambda v, x: backbone.apply(v, x, train=False)[-1])
    for size in SIZES:
        last = forward(variables, jnp.asarray(rule.images(*size)))
        found = np.concatenate([last.mean(axis=(1, 2)), last.max(axis=(1, 2))], axis=1)
        expected = golden[f"{name}/{size[0]}x{size[1]}"]
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
