"""Linear layers multiply all rows as one matrix, equal to Flax's own product."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from darkrank_jax.models.layers import product_of_rows


@pytest.mark.parametrize(
    "shape",
    [(2, 3, 5, 4), *(pytest.param(each, marks=pytest.mark.slow) for each in [(3, 5, 4), (6, 4)])],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layer_has_the_value_and_gradients_of_flax(shape, dtype):
    x = jax.random.normal(jax.random.key(0), shape)
    ours = nn.Dense(7, dtype=dtype, dot_general=product_of_rows)
    theirs = nn.Dense(7, dtype=dtype)
    variables = ours.init(jax.random.key(1), x)
    cotangent = jax.random.normal(jax.random.key(2), (*shape[:-1], 7)).astype(dtype)
    found, expected = (
        (value, *transposed(cotangent))
        for layer in (ours, theirs)
        for value, transposed in [jax.vjp(layer.apply, variables, x)]
    )
    assert found[0].dtype == expected[0].dtype == dtype
    tolerance = 1e-6 if dtype == "float32" else 1e-2
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        one, other = (np.asarray(each, np.float32) for each in (one, other))
        np.testing.assert_allclose(one, other, atol=tolerance * np.abs(other).max())


def test_kernel_gradient_contracts_one_axis():
    x, kernel, cotangent = jnp.ones((32, 37, 64)), jnp.ones((64, 96)), jnp.ones((32, 37, 96))

    def contracted(product):
        def gradient(x, kernel, cotangent):
            return jax.vjp(lambda kernel: product(x, kernel), kernel)[1](cotangent)

        text = jax.jit(gradient).lower(x, kernel, cotangent).as_text()
        (axes,) = re.findall(r"contracting_dims = \[([\d, ]+)\]", text)
        return len(axes.split(","))

    dimensions = (((2,), (0,)), ((), ()))
    assert contracted(lambda x, kernel: jax.lax.dot_general(x, kernel, dimensions)) == 2
    assert contracted(lambda x, kernel: product_of_rows(x, kernel, dimensions)) == 1
