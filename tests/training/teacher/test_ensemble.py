"""Embeddings of several networks as one."""

import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax.training.teacher.ensemble import combine_embeddings

pytestmark = pytest.mark.usefixtures("source")


def test_members_are_combined_at_length_one():
    rng = np.random.default_rng(1)
    first, second = (rng.normal(size=(6, dim)) * [[s] for s in range(1, 7)] for dim in (3, 5))
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second)]

    def squared(x):
        return np.square(x[:, None] - x[None]).sum(axis=-1)

    joined = combine_embeddings([jnp.asarray(first), jnp.asarray(second)], "concatenation")
    np.testing.assert_allclose(
        squared(np.asarray(joined)), (squared(units[0]) + squared(units[1])) / 2, atol=1e-5
    )
    mean = combine_embeddings([jnp.asarray(first), jnp.asarray(second[:, 1:4])], "mean")
    other = second[:, 1:4] / np.linalg.norm(second[:, 1:4], axis=1, keepdims=True)
    expected = (units[0] + other) / 2
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(mean, expected, atol=1e-6)
