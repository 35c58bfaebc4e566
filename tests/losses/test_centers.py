"""Losses of several centers a class against golden values."""

from darkrank_jax.losses import centers
from tests.losses.golden import check_golden, golden_cases


@golden_cases(centers)
def test_golden_values_and_gradients(family, case, dtype):
    check_golden(family, case, dtype)
