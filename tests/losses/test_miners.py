"""The distribution of mined negatives."""

import jax
import jax.numpy as jnp
import numpy as np

from darkrank_jax.losses import miners


def test_distance_weighted_negatives_follow_the_inverse_density():
    lengths = jnp.array([[0.0, 0.3, 0.7, 1.0, 1.3, 1.9]])
    positives = jnp.array([[False, True, False, False, False, False]])
    negatives = jnp.array([[False, False, True, True, True, True]])
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.vmap(
        lambda key: miners.distance_weighted_triplets(
            lengths, positives, negatives, dim=4, key=key
        ).negative[0, 1]
    )(keys)
    d = np.array([0.7, 1.0, 1.3])
    expected = 1 / (d**2 * (1 - d**2 / 4) ** 0.5)
    counts = np.bincount(drawn, minlength=6)[2:5]
    assert counts.sum() == len(keys)  # 1.9 is too far
    np.testing.assert_allclose(counts / len(keys), expected / expected.sum(), atol=0.03)
