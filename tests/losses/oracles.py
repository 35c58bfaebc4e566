"""A loss against loops."""

import jax
import jax.numpy as jnp
import numpy as np


def check_oracle(loss, expected, *arrays):
    """A loss of arrays in float64, compiled, against a function of the same arrays."""
    with jax.enable_x64(True):
        value = jax.jit(loss)(*map(jnp.asarray, arrays))
    np.testing.assert_allclose(value, expected(*arrays), rtol=1e-9)
