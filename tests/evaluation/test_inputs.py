"""Arrays of another shape than the metrics take, as users pass them."""

import jaxtyping
import numpy as np
import pytest

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.clustering import purity
from darkrank_jax.evaluation.neighbors import nearest_neighbors
from darkrank_jax.evaluation.retrieval import retrieval_metrics

ROWS, LABELS = np.arange(12.0).reshape(6, 2), np.array([0, 0, 0, 1, 1, 1])
MATRIX = " must have a row for each image, [n, dim] (got "


@pytest.fixture(autouse=True)
def as_users_have_it():
    """Without the type checker of the test run, which would be the first to complain."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: retrieval_metrics(ROWS[:, 0], LABELS), f"embeddings:{MATRIX}[6])"),
        (
            lambda: retrieval_metrics(ROWS, LABELS[:, None]),
            "labels: must have shape [6] (got [6, 1])",
        ),
        (lambda: nearest_neighbors(ROWS[0], ROWS, k=2), f"queries:{MATRIX}[2])"),
        (
            lambda: nearest_neighbors(ROWS, ROWS[:0], k=2),
            "gallery: must have at least one row (got none)",
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
