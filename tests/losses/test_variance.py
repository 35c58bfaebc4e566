"""VICReg against golden values."""

from darkrank_jax.losses import variance
from tests.losses.golden import check_golden, golden_cases


@golden_cases(variance)
def test_golden_values_and_gradients(family, case, dtype):
    check_golden(family, case, dtype)
