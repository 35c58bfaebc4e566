"""OSNet: its sizes, and what others compute with its weights."""

import pytest

from darkrank_jax.models.backbones import osnet
from tests.models.backbones.architectures import (
    check_outputs,
    check_published,
    every_network,
)

# Torchreid's count of parameters, what its classifier of 1000 classes has of them, and
# side and channels of each map of an image of 224 pixels.
PUBLISHED = {
    # torchreid's, with a linear layer to 512 numbers and its norm before the linear layer.
    "osnet_x1_0": (
        2_682_508,
        512 * (512 + 1 + 2) + 1000 * (512 + 1),
        [(112, 64), (56, 256), (28, 384), (14, 512)],
    ),
    "osnet_x0_75": (
        1_798_754,
        512 * (384 + 1 + 2) + 1000 * (512 + 1),
        [(112, 48), (56, 192), (28, 288), (14, 384)],
    ),
    "osnet_x0_5": (
        1_143_034,
        512 * (256 + 1 + 2) + 1000 * (512 + 1),
        [(112, 32), (56, 128), (28, 192), (14, 256)],
    ),
    "osnet_x0_25": (
        714_864,
        512 * (128 + 1 + 2) + 1000 * (512 + 1),
        [(112, 16), (56, 64), (28, 96), (14, 128)],
    ),
}
# Take long to trace; others of their kind stay.
DEEP = {"osnet_x0_25", "osnet_x0_5", "osnet_x0_75"}


@every_network(osnet, slow=DEEP)
def test_parameters_and_shapes_are_those_published(name):
    check_published(name, *PUBLISHED[name])


@pytest.mark.slow
def test_outputs_agree_with_another_implementation(tmp_path):
    check_outputs("osnet_x0_25", tmp_path)
