"""What an export may differ by."""

import pytest

from darkrank_jax.export.deviation import fault


@pytest.mark.parametrize(
    ("measured", "exact", "said"),
    [
        ({"max_difference": 9e-5}, True, ""),
        ({"max_difference": float("nan")}, True, "differs from the model by nan"),
        ({"mean_cosine": 0.97, "recall_at_1": 0.9}, False, "has a mean cosine of 0.970"),
        ({"mean_cosine": 0.99, "recall_at_1": 0.48}, False, "loses 0.020 of Recall@1, more than"),
        ({"mean_cosine": 0.99, "recall_at_1": 0.495}, False, ""),
        ({"mean_cosine": 0.99, "recall_at_1": 0.6}, False, ""),
    ],
)
def test_the_tolerance(measured, exact, said):
    found = fault(measured, 0.5, exact=exact)
    assert found.startswith(said)
    assert bool(found) == bool(said)
