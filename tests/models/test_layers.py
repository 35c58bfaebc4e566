"""Convolutions and maxima are those of XLA, however they are computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from darkrank_jax.models.layers import centred, conv, filled_up, max_pool, plain_convolutions


def both(rows, columns, side, stride, padding, groups=1):
    """A module's result and gradients, and those of XLA's convolution."""
    keys = jax.random.split(jax.random.key(rows + 10 * columns + side), 3)
    x = jax.random.normal(keys[0], (3, rows, columns, 4))
    module = conv(6, side, stride, dtype=None, name="c", groups=groups, padding=padding)
    variables = module.init(keys[1], x)
    kernel = variables["params"]["kernel"]
    pads = [(side // 2 if padding is None else padding,) * 2] * 2

    def theirs(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )  # fmt: skip

    def ours(x, kernel):
        return module.apply({"params": {"kernel": kernel}}, x)

    weights = jax.random.normal(keys[2], jax.eval_shape(theirs, x, kernel).shape)

    def with_gradients(function):
        gradients = jax.grad(lambda *args: jnp.sum(weights * function(*args)), (0, 1))
        return function(x, kernel), *gradients(x, kernel)

    gradient = jax.jit(jax.grad(lambda *args: jnp.sum(weights * ours(*args)), (0, 1)))

    def convolves(platform):
        """Whether the gradient's program for a platform has convolutions."""
        lowered = gradient.trace(x, kernel).lower(lowering_platforms=(platform,))
        return "stablehlo.convolution" in lowered.as_text()

    return with_gradients(ours), with_gradients(theirs), convolves


@pytest.mark.parametrize(
    ("rows", "columns", "side", "stride", "padding", "is_product"),
    [
        (2, 2, 3, 1, None, True),
        (4, 5, 3, 2, None, True),
        (1, 3, 3, 1, None, True),
        (6, 3, 5, 2, None, True),
        (7, 6, 7, 2, 2, True),
        (3, 4, 3, 1, None, False),
        (6, 6, 3, 2, None, False),
        (5, 4, 1, 1, None, True),
        (5, 4, 1, 2, None, False),
    ],
)
def test_products_convolve_as_xla_does(rows, columns, side, stride, padding, is_product):
    found, expected, convolves = both(rows, columns, side, stride, padding)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert convolves("cpu") != is_product
    assert convolves("cuda")
    assert convolves("tpu")


def test_groups_and_other_runtimes_have_convolutions_alone():
    found, expected, convolves = both(2, 2, 3, 1, None, groups=2)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-5)
    assert convolves("cpu")
    with plain_convolutions():
        assert both(2, 2, 3, 1, None)[2]("cpu")
    assert not both(2, 2, 3, 1, None)[2]("cpu")


@pytest.mark.parametrize(("pad", "stride"), [(centred, 2), (filled_up, 2), (centred, 1)])
@pytest.mark.parametrize(("rows", "columns"), [(7, 4), (2, 6), (1, 1)])
def test_maxima_and_their_gradients_are_those_of_xla(rows, columns, pad, stride):
    # Rounded: many windows have several maxima, of which the first gets the gradient.
    x = jnp.round(jax.random.normal(jax.random.key(rows + columns), (3, rows, columns, 5)))
    pads = [pad(size) for size in (rows, columns)]

    def theirs(x):
        return nn.max_pool(x, (3, 3), (stride, stride), padding=pads)

    found, back = jax.vjp(lambda x: max_pool(x, pad, stride), x)
    expected, their_back = jax.vjp(theirs, x)
    np.testing.assert_array_equal(found, expected)
    cotangent = jax.random.normal(jax.random.key(1), found.shape)
    np.testing.assert_allclose(back(cotangent)[0], their_back(cotangent)[0], rtol=1e-6, atol=1e-6)


def test_sums_of_a_maximums_gradient_are_in_a_fixed_order():
    x = jnp.zeros((2, 6, 4, 3))
    gradient = jax.jit(jax.grad(lambda x: max_pool(x, centred).sum()))
    programs = {
        platform: gradient.trace(x).lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda", "tpu")
    }
    # Made for TPUs; for GPUs XLA makes atomic additions of it.
    scatters = {name: "select_and_scatter" in program for name, program in programs.items()}
    assert scatters == {"cpu": False, "cuda": False, "tpu": True}


def test_a_maximum_over_nan_is_nan():
    x = jnp.zeros((1, 4, 4, 1)).at[0, 2, 2, 0].set(jnp.nan)
    assert jnp.isnan(max_pool(x, filled_up)).squeeze().tolist() == [[True, True], [True, True]]
