"""Two views of a batch made alike without labels, kept from collapsing by their variance."""

import jax
import jax.numpy as jnp

from darkrank_jax.losses.internals.checks import check_arrays, check_range
from darkrank_jax.losses.internals.devices import on_any_mesh
from darkrank_jax.losses.masks import teacher_student_rows
from darkrank_jax.losses.reductions import ReduceFn, apply_reduction, mean

# Keeps the slope of a standard deviation of 0 finite.
_VARIANCE = 1e-4


@on_any_mesh
def vicreg_loss(
    student_embeddings: jax.Array,
    teacher_embeddings: jax.Array,
    *,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """VICReg: two embeddings of an image alike, their components varied and uncorrelated.

    l mean_k (x_k - y_k)^2 + m [v(x) + v(y)] / 2 + n [c(x) + c(y)], mean over the batch,
    v(x) = mean_k max(0, 1 - sqrt(var(x_k) + 1e-4)), c(x) = sum_{k != l} cov(x_k, x_l)^2 / dim

    The gradient reaches the first embeddings alone. With two views of one network, add the loss of
    the views exchanged: the sum has the gradient of both, and twice the value.

    Args:
      student_embeddings: [batch, dim], floating, used as given; a first view.
      teacher_embeddings: [batch, dim], floating, no gradient; a second view.
      invariance_weight: l, not negative.
      variance_weight: m, not negative.
      covariance_weight: n, not negative.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row; None: 1. Variances are of all rows
        that count alike.
      reduce_fn: reduces one value for each row, see `reductions`; each has the terms of variance.

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a weight that is negative.

    Example:
      >>> first = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
      >>> round(float(vicreg_loss(first, first[::-1])), 4)
      44.4053

    Source: Bardes, Ponce, LeCun, VICReg, ICLR 2022.
    """
    check_range("invariance_weight", invariance_weight, 0)
    check_range("variance_weight", variance_weight, 0)
    check_range("covariance_weight", covariance_weight, 0)
    student, teacher, valid = teacher_student_rows(
        student_embeddings, teacher_embeddings, where, weights
    )
    check_arrays(
        student_embeddings=(student, "float", "batch dim"),
        teacher_embeddings=(teacher, "float", "batch dim"),
    )
    values = invariance_weight * jnp.square(student - teacher).mean(1)
    for embeddings in (student, teacher):
        hinge, correlated = _spread(embeddings, valid)
        values += variance_weight * hinge / 2 + covariance_weight * correlated
    return apply_reduction(reduce_fn, values, valid, weights)


def _spread(embeddings: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How far deviations fall short of 1, and the squared covariances of two components."""
    rows, dim = valid.sum(), embeddings.shape[1]
    centre = embeddings.sum(0, keepdims=True) / jnp.maximum(rows, 1)
    centred = jnp.where(valid[:, None], embeddings - centre, 0)
    covariance = jnp.matmul(centred.T, centred, precision=jax.lax.Precision.HIGHEST)
    covariance /= jnp.maximum(rows - 1, 1)
    deviations = jnp.sqrt(jnp.diag(covariance) + _VARIANCE)
    apart = jnp.where(jnp.eye(dim, dtype=bool), 0, covariance)
    return jax.nn.relu(1 - deviations).mean(), jnp.square(apart).sum() / dim
