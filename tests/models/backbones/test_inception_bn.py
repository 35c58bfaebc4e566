"""Inception-BN: its sizes, and what others compute with its weights."""

import pytest

from darkrank_jax.models.backbones import inception_bn
from tests.models.backbones.architectures import (
    check_outputs,
    check_published,
    every_network,
)

# Pretrainedmodels' count of parameters, what its classifier of 1000 classes has of them, and
# side and channels of each map of an image of 224 pixels.
PUBLISHED = {
    "inception_bn": (
        11_295_240,
        1000 * (1024 + 1),
        [(112, 64), (56, 192), (28, 320), (14, 608), (7, 1024)],
    ),
}


@every_network(inception_bn)
def test_parameters_and_shapes_are_those_published(name):
    check_published(name, *PUBLISHED[name])


@pytest.mark.slow
def test_outputs_agree_with_another_implementation(tmp_path):
    check_outputs("inception_bn", tmp_path)
