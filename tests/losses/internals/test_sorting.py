"""Sorts by integers against NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax.losses.internals import sorting


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_order_and_values_are_those_of_numpy(dtype):
    rng = np.random.default_rng(3)
    # Ties, both zeros, both infinities, sizes that differ in every digit of the key.
    rows = rng.normal(size=(5, 90)).round(1) * rng.choice([1e-30, 1e-3, 1, 1e30], size=(5, 90))
    rows[0, 3], rows[1, 2], rows[:, 5], rows[:, 7] = np.inf, -np.inf, -0.0, 0.0
    rows[:, 10:20] += 2.0**-20 * rng.integers(0, 4, size=(5, 10))
    with jax.enable_x64(dtype == jnp.float64):
        given = jnp.asarray(rows, dtype)
        expected = np.asarray(given)
        order = sorting.argsort(given)
        np.testing.assert_array_equal(order, np.argsort(expected, axis=-1, kind="stable"))
        np.testing.assert_array_equal(sorting.sort(given), np.sort(expected, axis=-1))
        assert order.dtype == jnp.int32
        assert sorting.sort(given).dtype == dtype


def test_rows_too_long_for_a_packed_place():
    row = jnp.asarray(np.random.default_rng(0).integers(0, 50, 2**16 + 3) - 25.0, jnp.float32)
    np.testing.assert_array_equal(sorting.argsort(row), np.argsort(row, kind="stable"))
