"""RKD between networks of different precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax import losses
from tests.losses.batches import TEACHER, X


@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float64", "float32")])
def test_rkd_angle_of_mixed_precision_equals_float64(x64, dtypes):
    student, teacher = jnp.asarray(X, dtypes[0]), jnp.asarray(TEACHER, dtypes[1])
    value_and_slope = jax.jit(jax.value_and_grad(losses.rkd_angle_loss))
    value, slope = value_and_slope(student, teacher)
    exact = value_and_slope(jnp.asarray(X), jnp.asarray(TEACHER))
    assert slope.dtype == student.dtype
    np.testing.assert_allclose(value, exact[0], rtol=1e-5)
    np.testing.assert_allclose(slope, exact[1], rtol=1e-3, atol=1e-5)
