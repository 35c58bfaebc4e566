"""Arrays of another shape than the metrics take, as users pass them."""

import jaxtyping
import numpy as np
import pytest

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.clustering import purity
from darkrank_jax.evaluation.neighbors import nearest_neighbors
from darkrank_jax.evaluation.retrieval import retrieval_metrics

ROWS, LABELS = np.arange(12.0).reshape(6, 2), np.array([0, 0, 0, 1, 1, 1])
MATRIX = "; give a row for each image, [n, dim]"


@pytest.fixture(autouse=True)
def as_users_have_it():
    """Without the type checker of the test run, which would be the first to complain."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: retrieval_metrics(ROWS[:, 0], LABELS), "embeddings: has shape [6]" + MATRIX),
        (
            lambda: retrieval_metrics(ROWS, LABELS[:, None]),
            "labels: has shape [6, 1]; give one axis, [6]",
        ),
        (lambda: nearest_neighbors(ROWS[0], ROWS, k=2), "queries: has shape [2]" + MATRIX),
        (
            lambda: nearest_neighbors(ROWS, ROWS[:0], k=2),
            "gallery: there are none; give at least one row",
        ),
    ],
)
def test_shapes_that_cannot_be_measured_are_refused(call, line):
    with pytest.raises(UserError) as error:
        call()
    assert str(error.value) == line


def test_groups_may_be_numbered_without_a_sign():
    groups = np.array([0, 0, 0, 1, 1], np.uint8), np.array([5, 5, 9, 9, 9], np.uint8)
    assert purity(*groups) == 0.8
