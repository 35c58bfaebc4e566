"""RKD between networks of different precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax import losses
from darkrank_jax.losses import rkd
from tests.losses.batches import TEACHER, X, relative, tight
from tests.losses.golden import check_golden, golden_cases


@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float64", "float32")])
def test_rkd_angle_of_mixed_precision_equals_float64(x64, dtypes):
    student, teacher = jnp.asarray(X, dtypes[0]), jnp.asarray(TEACHER, dtypes[1])
    value_and_slope = jax.jit(jax.value_and_grad(losses.rkd_angle_loss))
    value, slope = value_and_slope(student, teacher)
    exact = value_and_slope(jnp.asarray(X), jnp.asarray(TEACHER))
    assert slope.dtype == student.dtype
    np.testing.assert_allclose(value, exact[0], rtol=1e-5)
    np.testing.assert_allclose(slope, exact[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("gap", [1e-3, 1.0])
def test_angles_are_those_of_unit_difference_vectors(x64, gap):
    """As RKD's own code takes them."""
    student, teacher = (jnp.asarray(tight(20, gap, seed), jnp.float64) for seed in (0, 1))

    def loss(student):
        angles = []
        for rows in (student, teacher):
            gaps = rows[:, None] - rows[None]
            units = gaps / jnp.sqrt(jnp.square(gaps).sum(-1) + jnp.eye(12))[:, :, None]
            angles.append(jnp.einsum("ijd,ikd->ijk", units, units))
        size = jnp.abs(angles[0] - angles[1])
        return jnp.where(size < 1, 0.5 * size**2, size - 0.5).mean()

    expected, slope = jax.jit(jax.value_and_grad(loss))(student)
    found, found_slope = jax.jit(jax.value_and_grad(losses.rkd_angle_loss))(student, teacher)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert relative(found_slope, np.asarray(slope)) < 1e-9


@golden_cases(rkd)
def test_golden_values_and_gradients(family, case, dtype):
    check_golden(family, case, dtype)
