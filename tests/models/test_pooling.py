"""Maxima and their gradients are those of XLA, however they are computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from darkrank_jax.models.pooling import centred, filled_up, max_pool
from tests.marks import slow_but


@pytest.mark.parametrize(("pad", "stride"), [(centred, 2), (filled_up, 2), (centred, 1)])
@pytest.mark.parametrize(("rows", "columns"), slow_but([(7, 4)], [(7, 4), (2, 6), (1, 1)]))
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
