"""From the terms of a loss to one number: functions of (values, where=valid), for `reduce_fn`.

An empty set gives 0 with zero gradient.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

ReduceFn = Callable[..., jax.Array]


def mean(values: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
    """Mean of the valid values.

    Args:
      values: the terms of a loss, any shape.
      where: which of them count, or the weight of each, of the same shape; None: all.

    Returns:
      A scalar; 0 when none counts.

    Example:
      >>> print(mean(jnp.array([1.0, 0.0, 5.0]), where=jnp.array([True, True, False])))
      0.5
      >>> print(mean(jnp.array([1.0, 0.0, 5.0]), where=jnp.array([0.3, 0.1, 0.0])))
      0.75
    """
    where = _all_of(values) if where is None else where
    # Nothing over one is 0 with zero gradient, nothing over nothing is NaN.
    weight = where.sum()
    return total(values, where=where) / jnp.where(weight == 0, 1, weight).astype(values.dtype)


def mean_nonzero(values: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
    """Mean of the valid values over zero: terms that a margin has already met do not dilute it.

    Args:
      values: the terms of a loss, any shape, not negative.
      where: which of them count, or the weight of each, of the same shape; None: all.

    Returns:
      A scalar; 0 when none counts.

    Example:
      >>> print(mean_nonzero(jnp.array([1.0, 0.0, 5.0])))
      3.0
    """
    where = _all_of(values) if where is None else where
    # NaN counts, and makes the mean NaN.
    return mean(values, where=jnp.where(values <= 0, jnp.zeros_like(where), where))


def total(values: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
    """Sum of the valid values.

    Args:
      values: the terms of a loss, any shape.
      where: which of them count, or the weight of each, of the same shape; None: all.

    Returns:
      A scalar; 0 when none counts.

    Example:
      >>> print(total(jnp.array([1.0, 0.0, 5.0])))
      6.0
    """
    where = _all_of(values) if where is None else where
    return (jnp.where(where > 0, values, 0) * where.astype(values.dtype)).sum()


def apply_reduction(reduce_fn: Any, values: jax.Array, where: jax.Array) -> jax.Array:
    """Reduces the terms of a loss; the last step of every loss."""
    if not callable(reduce_fn):
        raise TypeError(f"reduce_fn: got {reduce_fn!r}, expected a function of (values, where=)")
    reduced: Any = reduce_fn(values, where=where)
    return reduced


def _all_of(values: jax.Array) -> jax.Array:
    """A mask that lets every value count."""
    return jnp.ones(values.shape, bool)
