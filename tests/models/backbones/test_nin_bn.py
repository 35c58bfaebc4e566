"""Network in Network with batch norm: its sizes, and what others compute with its weights."""

import jax
import numpy as np
import pytest

from darkrank_jax.errors import UserError
from darkrank_jax.models import MODELS
from darkrank_jax.models.backbones import nin_bn
from tests.models.backbones.architectures import (
    check_outputs,
    check_published,
    every_network,
    shapes,
)

# Caffe's count of parameters, what its classifier of 1000 classes has of them, and
# side and channels of each map of an image of 224 pixels.
PUBLISHED = {
    # Caffe's Network in Network for ImageNet has 7,595,176. Here the last 1x1 convolution has 1024
    # channels instead of 1000, and 12 norms follow, of two numbers a channel.
    "nin_bn": (
        7_595_176 + 24 * (1024 + 1) + 2 * 3 * (96 + 256 + 384 + 1024),
        0,
        [(54, 96), (27, 256), (13, 384), (6, 1024)],
    ),
}


@every_network(nin_bn)
def test_parameters_and_shapes_are_those_published(name):
    check_published(name, *PUBLISHED[name])


def test_outputs_agree_with_another_implementation(tmp_path):
    check_outputs("nin_bn", tmp_path)


def test_dropout_is_in_training_alone():
    backbone = MODELS["nin_bn"](width=0.02)
    images = jax.random.normal(jax.random.key(0), (2, 40, 40, 3))
    variables = jax.jit(lambda: backbone.init(jax.random.key(1), images, train=False))()

    @jax.jit
    def last(key):
        maps, _ = backbone.apply(
            variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        return maps[-2], maps[-1]

    before, after = last(jax.random.key(2)), last(jax.random.key(3))
    np.testing.assert_array_equal(before[0], after[0])
    assert not np.array_equal(before[1], after[1])


def test_images_smaller_than_the_first_kernel_are_refused():
    line = "data.image_size: must be at least 11, the first kernel of nin_bn"
    with pytest.raises(UserError, match=f"^{line}"):
        shapes(MODELS["nin_bn"](), size=(10, 10))
