"""MobileNetV3: its sizes, and what others compute with its weights."""

import pytest

from darkrank_jax.models.backbones import mobilenet_v3
from tests.models.backbones.architectures import (
    check_outputs,
    check_published,
    every_network,
)

# Torchvision's and timm's count of parameters, what its classifier of 1000 classes has of them, and
# side and channels of each map of an image of 224 pixels.
PUBLISHED = {
    # Two linear layers.
    "mobilenet_v3_large": (
        5_483_032,
        1280 * (960 + 1) + 1000 * (1280 + 1),
        [(112, 16), (56, 24), (28, 40), (14, 112), (7, 960)],
    ),
    "mobilenet_v3_small": (
        2_542_856,
        1024 * (576 + 1) + 1000 * (1024 + 1),
        [(112, 16), (56, 16), (28, 24), (14, 48), (7, 576)],
    ),
}


@every_network(mobilenet_v3)
def test_parameters_and_shapes_are_those_published(name):
    check_published(name, *PUBLISHED[name])


@pytest.mark.slow
def test_outputs_of_large_agree_with_another_implementation(tmp_path):
    check_outputs("mobilenet_v3_large", tmp_path)


@pytest.mark.slow
def test_outputs_of_small_agree_with_another_implementation(tmp_path):
    check_outputs("mobilenet_v3_small", tmp_path)
