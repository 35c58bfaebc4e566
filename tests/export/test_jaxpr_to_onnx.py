"""The translation to ONNX, run by ONNX Runtime, beside JAX itself."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from darkrank_jax.errors import UserError
from darkrank_jax.export.jaxpr_to_onnx import convert
from darkrank_jax.models import build_model
from darkrank_jax.training.step import make_embed_step

onnxruntime = pytest.importorskip("onnxruntime")
NUMBERS = ("NHWC", "HWIO", "NHWC")


def weights(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


KERNEL = {"params": {"kernel": weights(2, 2, 3, 2), "bias": weights(2)}}


def operators(model):
    return Counter(node.op_type for node in model.graph.node)


def check(function, shape=(6, 5, 3), batches=(1, 3)):
    """Translates a function and compares it with JAX at several sizes of batch."""
    model = convert(function, shape, {"key": "text"})
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert session.get_modelmeta().custom_metadata_map == {"key": "text"}
    for batch in batches:
        images = np.random.default_rng(batch).integers(0, 256, (batch, *shape), np.uint8)
        (found,) = session.run(None, {"images": images})
        expected = np.asarray(function(jnp.asarray(images)))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5 * abs(expected).max())
    return model


def scaled(x):
    return x.astype(jnp.float32) / 255 - 0.6


def flat(x):
    return x.reshape(x.shape[0], -1)


def conv(x, kernel, **options):
    options = {"window_strides": (1, 1), "padding": "VALID"} | options
    return lax.conv_general_dilated(x, kernel, dimension_numbers=NUMBERS, **options)


def pool(x, window, stride, padding, *, largest=True):
    start, join = (-jnp.inf, lax.max) if largest else (0.0, lax.add)
    sizes, strides = (1, *window, 1), (1, *stride, 1)
    return lax.reduce_window(x, start, join, sizes, strides, ((0, 0), *padding, (0, 0)))


FUNCTIONS = {
    "convolution": lambda x: flat(
        conv(scaled(x), weights(3, 2, 3, 4), window_strides=(2, 1), padding=((1, 0), (2, 1)))
    ),
    "groups": lambda x: flat(conv(scaled(x), weights(2, 2, 1, 6), feature_group_count=3)),
    "holes": lambda x: flat(conv(scaled(x), weights(2, 2, 3, 2), rhs_dilation=(2, 1))),
    # All numbers are below the zeros that a wrong padding would put there.
    "maximum": lambda x: flat(pool(scaled(x) - 1, (3, 3), (2, 2), ((1, 1), (0, 2)))),
    "sum": lambda x: flat(pool(scaled(x), (3, 2), (1, 2), ((1, 1), (1, 0)), largest=False)),
    "mean without padding": lambda x: flat(
        nn.avg_pool(scaled(x), (3, 3), padding=((1, 1), (1, 1)), count_include_pad=False)
    ),
    "global maximum": lambda x: scaled(x).max(axis=(1, 2)),
    "layouts meet": lambda x: flat(
        jnp.transpose(conv(scaled(x), weights(1, 1, 3, 3)), (0, 2, 1, 3))
        * jnp.transpose(scaled(x), (0, 2, 1, 3))
        + weights(5, 1, 3)[None]
    ),
    "reduction between": lambda x: (
        conv(scaled(x), weights(1, 1, 3, 4)).sum(axis=2) * weights(6, 4)[None]
    ).sum(axis=1),
    "concatenation": lambda x: flat(
        jnp.concatenate([conv(scaled(x), weights(1, 1, 3, 2)), scaled(x)], axis=-1)
    ),
    "repeated for the batch": lambda x: flat(
        jnp.concatenate(
            [jnp.broadcast_to(weights(1, 1, 3), (x.shape[0], 1, 3)), scaled(x)[:, 2]], axis=1
        )
    ),
    "a repeated sum": lambda x: jnp.broadcast_to(
        scaled(x).mean(axis=(1, 2))[:, None], (x.shape[0], 7, 3)
    ).sum(axis=1),
    "contraction": lambda x: flat(jnp.einsum("bhwc,bkwc->bwhk", scaled(x), scaled(x)[:, :4] + 1)),
    "matrix": lambda x: flat(scaled(x)) @ weights(90, 4),
    "slices": lambda x: flat(scaled(x)[:, 1:4, 2]),
    "choices": lambda x: flat(jnp.where(scaled(x) > -0.1, jnp.exp(scaled(x)), scaled(x) ** 2)),
    "activations": lambda x: flat(
        jax.nn.gelu(scaled(x), approximate=False)
        + jax.nn.silu(scaled(x))
        + jnp.tanh(scaled(x)) * jax.nn.relu6(9 * scaled(x))
        + jax.nn.softmax(scaled(x))
    ),
    "powers": lambda x: flat(
        lax.rsqrt(scaled(x) + 2) + jnp.sqrt(scaled(x) + 1) ** -0.3 - scaled(x) ** 3
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_computes_what_jax_computes(name):
    check(FUNCTIONS[name])


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


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (lambda x: flat(jnp.sort(scaled(x), axis=1)), "sort"),
        (lambda x: flat(nn.ConvTranspose(2, (2, 2), (2, 2)).bind(KERNEL)(scaled(x))), "conv"),
        (lambda x: conv(scaled(x), scaled(x).sum(0)[..., None]).sum((1, 2)), "conv"),
    ],
)
def test_refuses_what_has_no_translation(function, what):
    with pytest.raises(UserError, match=rf"^onnx: has no translation of .*{what}"):
        convert(function, (6, 5, 3), {})


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
