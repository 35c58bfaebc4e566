"""Nearest images of a measured set."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from darkrank_jax.evaluation.report import Measured
from darkrank_jax.evaluation.report.measured import neighbors_of
from tests.evaluation.report.made import slow_neighbors


@settings(deadline=None, max_examples=30)
@given(
    embeddings=hnp.arrays(np.float32, st.just((14, 3)), elements=st.integers(-9, 9).map(float)),
    k=st.sampled_from([1, 6, 20]),
)
def test_neighbors_equal_a_slow_loop(embeddings, k):
    """Whole numbers make both exact, so ties and duplicates count; which of a tie is left open."""
    queries = np.arange(len(embeddings))[::-1]
    measured = Measured(np.arange(14) % 2, ("a", "b"), {"student": embeddings}, {})
    found = neighbors_of(measured, "student", queries, k)
    expected = slow_neighbors(embeddings, queries, k)
    assert found.shape == expected.shape
    for query, ours, theirs in zip(queries, found, expected, strict=True):
        assert query not in ours
        assert len(set(ours)) == len(ours)
        distances = ((embeddings - embeddings[query]) ** 2).sum(axis=1)
        np.testing.assert_array_equal(distances[ours], distances[theirs])
