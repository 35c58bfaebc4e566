"""Query expansion against a loop, and where it has no direction."""

import numpy as np
import pytest

from darkrank_jax.evaluation.query_expansion import expand_queries
from tests.references import evaluation as reference


@pytest.mark.parametrize("alpha", [0.0, 2.5])
def test_expansion_agrees_with_a_loop(alpha):
    rng = np.random.default_rng(3)
    queries, gallery = (rng.normal(size=(count, 6)).astype(np.float32) for count in (19, 60))
    expected = reference.expanded(queries, gallery, 4, alpha)
    np.testing.assert_allclose(
        expand_queries(queries, gallery, k=4, alpha=alpha), expected, atol=1e-6
    )


def test_a_query_that_its_neighbours_cancel_stays_where_it_is():
    query = np.array([[0.3, -0.7, 0.2]])
    found = expand_queries(query, -query, k=1, alpha=0)
    np.testing.assert_allclose(found, query / np.linalg.norm(query), rtol=1e-6)
