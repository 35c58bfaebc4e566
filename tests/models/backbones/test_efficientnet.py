"""EfficientNet and its lite forms: its sizes, and what others compute with its weights."""

import pytest

from darkrank_jax.models.backbones import efficientnet
from tests.models.backbones.architectures import (
    check_outputs,
    check_published,
    every_network,
)

# Torchvision's and timm's count of parameters, what its classifier of 1000 classes has of them, and
# side and channels of each map of an image of 224 pixels.
PUBLISHED = {
    "efficientnet_b0": (
        5_288_548,
        1000 * (1280 + 1),
        [(112, 16), (56, 24), (28, 40), (14, 112), (7, 1280)],
    ),
    "efficientnet_b1": (
        7_794_184,
        1000 * (1280 + 1),
        [(112, 16), (56, 24), (28, 40), (14, 112), (7, 1280)],
    ),
    "efficientnet_b2": (
        9_109_994,
        1000 * (1408 + 1),
        [(112, 16), (56, 24), (28, 48), (14, 120), (7, 1408)],
    ),
    "efficientnet_b3": (
        12_233_232,
        1000 * (1536 + 1),
        [(112, 24), (56, 32), (28, 48), (14, 136), (7, 1536)],
    ),
    "efficientnet_b4": (
        19_341_616,
        1000 * (1792 + 1),
        [(112, 24), (56, 32), (28, 56), (14, 160), (7, 1792)],
    ),
    "efficientnet_lite0": (
        4_652_008,
        1000 * (1280 + 1),
        [(112, 16), (56, 24), (28, 40), (14, 112), (7, 1280)],
    ),
    "efficientnet_lite2": (
        6_092_072,
        1000 * (1280 + 1),
        [(112, 16), (56, 24), (28, 48), (14, 120), (7, 1280)],
    ),
}
# Take long to trace; others of their kind stay.
DEEP = {
    "efficientnet_lite2",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
}


@every_network(efficientnet, slow=DEEP)
def test_parameters_and_shapes_are_those_published(name):
    check_published(name, *PUBLISHED[name])


@pytest.mark.slow
def test_outputs_agree_with_another_implementation(tmp_path):
    check_outputs("efficientnet_b0", tmp_path)
