"""Whole networks and folded norms as ONNX, run by ONNX Runtime, against JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax.models import build_model
from darkrank_jax.training.step import make_embed_step
from tests.export.translated import check, conv, flat, operators, scaled, weights


def test_a_norm_becomes_part_of_the_convolution_before_it():
    kernel, mean, scale, bias = weights(3, 3, 3, 4), weights(4), weights(5)[1:], weights(6)[2:]

    def normed(x):
        y = conv(scaled(x), kernel)
        y = (y - mean.reshape(1, 1, 1, 4)) * scale.reshape(1, 1, 1, 4) + bias.reshape(1, 1, 1, 4)
        return flat(jax.nn.relu(y))

    found = operators(check(normed))
    assert found["Conv"] == found["Relu"] == 1
    # What is left scales the image.
    assert (found["Sub"], found["Mul"], found["Add"]) == (1, 0, 0)


def test_a_convolution_that_is_used_twice_stays_as_it_is():
    def twice(x):
        y = conv(scaled(x), weights(1, 1, 3, 4))
        return flat(y * weights(4).reshape(1, 1, 1, 4) + jnp.exp(y))

    assert operators(check(twice))["Mul"] == 1


def test_a_constant_less_a_convolution_is_not_folded():
    check(lambda x: flat(weights(4).reshape(1, 1, 1, 4) - conv(scaled(x), weights(1, 1, 3, 4))))


def test_a_convolution_from_outside_an_inner_function_stays_as_it_is():
    @jax.jit
    def inner(y):
        return y * 2.0

    def outer(x):
        y = conv(scaled(x), weights(1, 1, 3, 4))
        return flat(inner(y) + jnp.exp(y))

    check(outer)


MODELS = [
    ("resnet10", {"width": 4, "stem": "imagenet", "pooling": "gem", "head_batch_norm": True}),
    ("vit_s16", {"width": 64, "depth": 1}),
    ("mobilenet_v3_small", {"width": 0.1}),
    ("convnext_tiny", {"width": 4, "pooling": "max"}),
    ("efficientnet_b0", {"width": 0.1}),
    ("inception_bn", {"width": 0.1}),
    ("mobilenet_v2", {"width": 0.1}),
    ("nin_bn", {"width": 0.1}),
    ("osnet_x0_25", {}),
    ("resnet50", {"width": 4, "stem": "small"}),
    ("vit_s16", {"width": 64, "depth": 2, "tokens": "patch", "normalize": False}),
    ("clip_vit_b16", {"width": 64, "depth": 1, "projection": 24}),
    ("convnextv2_tiny", {"width": 4}),
    ("dinov2_s14", {"width": 64, "depth": 1, "patch": 16, "registers": 2}),
    ("siglip_b16", {"width": 64, "depth": 1}),
]


@pytest.mark.parametrize(
    ("name", "options"), MODELS[:2] + [pytest.param(*m, marks=pytest.mark.slow) for m in MODELS[2:]]
)
def test_architectures_come_out_whole(name, options):
    model = build_model(name, embedding_dim=8, **options)
    images = jax.ShapeDtypeStruct((1, 48, 48, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    rng = np.random.default_rng(7)
    # Variances and scales about 1, everything else about 0 and small enough for any depth.
    variables = jax.tree.map_with_path(
        lambda path, leaf: (
            rng.uniform(0.7, 1.3, leaf.shape).astype(np.float32)
            if path[-1].key in ("var", "scale", "power")
            else rng.normal(0, max(1, np.prod(leaf.shape[:-1])) ** -0.5, leaf.shape).astype(
                np.float32
            )
        ),
        shapes,
    )
    given = {"params": {"model": variables["params"]}}
    given["batch_stats"] = variables.get("batch_stats", {})
    step = jax.jit(make_embed_step(model, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    check(lambda x: step(given, x)["embeddings"], (48, 48, 3), batches=(2,))
