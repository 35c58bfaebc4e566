"""Losses of a positive pair against all negatives against golden values."""

from darkrank_jax.losses import tuplets
from tests.losses.golden import check_golden, golden_cases


@golden_cases(tuplets)
def test_golden_values_and_gradients(family, case, dtype):
    check_golden(family, case, dtype)
