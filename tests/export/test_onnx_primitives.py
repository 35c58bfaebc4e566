"""Each primitive's translation to ONNX, run by ONNX Runtime, against JAX."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from jax import lax

from darkrank_jax.errors import UserError
from darkrank_jax.export.jaxpr_to_onnx import convert
from tests.export.translated import check, conv, flat, scaled, weights

KERNEL = {"params": {"kernel": weights(2, 2, 3, 2), "bias": weights(2)}}


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
