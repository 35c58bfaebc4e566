"""Margins that multiply an angle against golden values."""

from darkrank_jax.losses import multiplied_angles
from tests.losses.golden import check_golden, golden_cases


@golden_cases(multiplied_angles)
def test_golden_values_and_gradients(family, case, dtype):
    check_golden(family, case, dtype)
