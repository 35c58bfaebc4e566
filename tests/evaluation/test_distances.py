"""Distances between sets far from the origin, against loops."""

import numpy as np

from darkrank_jax.evaluation.distances import distance_matrix
from tests.references import evaluation as reference


def test_distances_are_euclidean():
    rng = np.random.default_rng(3)
    queries, gallery = (rng.normal(size=(count, 6)).astype(np.float32) + 30 for count in (19, 60))
    found, expected = distance_matrix(queries, gallery), reference.distances(queries, gallery)
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.max(expected))
