"""From the terms of a loss to its value: `reduce_fn`, and the last step of every loss.

A loss calls `reduce_fn(values)`, and passes `where=` (bool, the values that count) and `weights=`
to a function that names them. Values are 0 where they do not count, and already multiplied by the
weights for a function that does not name `weights`. An empty set gives 0 with zero gradient,
whatever the function.
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from darkrank_jax.losses.internals.checks import check_kind

ReduceFn = Callable[..., Any] | None


def mean(
    values: jax.Array, *, where: jax.Array | None = None, weights: jax.Array | None = None
) -> jax.Array:
    """Mean of the valid values: with weights, their weighted sum over the sum of the weights.

    Args:
      values: the terms of a loss, any shape.
      where: bool, which of them count, of the same shape; None: all.
      weights: floating, the weight of each, of the same shape; None: 1.

    Returns:
      A scalar; 0 when none counts.

    Example:
      >>> print(mean(jnp.array([1.0, 0.0, 5.0]), where=jnp.array([True, True, False])))
      0.5
      >>> print(mean(jnp.array([1.0, 0.0, 5.0]), weights=jnp.array([0.3, 0.1, 0.0])))
      0.75
    """
    where = _checked(values, where, weights)
    # Nothing over one is 0 with zero gradient, nothing over nothing is NaN.
    weight = where.sum() if weights is None else jnp.where(where, weights, 0).sum()
    divisor = jnp.where(weight == 0, 1, weight).astype(values.dtype)
    return total(values, where=where, weights=weights) / divisor


def mean_nonzero(
    values: jax.Array, *, where: jax.Array | None = None, weights: jax.Array | None = None
) -> jax.Array:
    """Mean of the valid values over zero: terms that a margin has already met do not dilute it.

    Args:
      values: the terms of a loss, any shape, not negative.
      where: bool, which of them count, of the same shape; None: all.
      weights: floating, the weight of each, of the same shape; None: 1.

    Returns:
      A scalar; 0 when none counts.

    Example:
      >>> print(mean_nonzero(jnp.array([1.0, 0.0, 5.0])))
      3.0
    """
    where = _checked(values, where, weights)
    # NaN counts, and makes the mean NaN.
    return mean(values, where=where & ~(values <= 0), weights=weights)


def total(
    values: jax.Array, *, where: jax.Array | None = None, weights: jax.Array | None = None
) -> jax.Array:
    """Sum of the valid values, each times its weight.

    Args:
      values: the terms of a loss, any shape.
      where: bool, which of them count, of the same shape; None: all.
      weights: floating, the weight of each, of the same shape; None: 1.

    Returns:
      A scalar; 0 when none counts.

    Example:
      >>> print(total(jnp.array([1.0, 0.0, 5.0])))
      6.0
    """
    where = _checked(values, where, weights)
    return _weighted(jnp.where(where, values, 0), where, weights).sum()


# By another name: jnp.mean divides by the number of values whatever they weigh, and the mean of
# none is NaN.
_ALIASES = ((jnp.mean, mean), (np.mean, mean), (jnp.sum, total), (np.sum, total))


def apply_reduction(
    reduce_fn: ReduceFn, values: jax.Array, where: jax.Array, weights: jax.Array | None = None
) -> jax.Array:
    """Reduces the terms of a loss; the last step of every loss.

    Args:
      reduce_fn: a function of the values, see above; None: the values themselves.
      values: the terms.
      where: bool, the terms that count, of the same shape.
      weights: floating, of the leading axes of the values, such as one for each anchor of pairs
        [anchors, batch]; None: 1.

    Returns:
      What the function returns, 0 when no term counts; for None, every term times its weight, 0
      where it does not count.

    Raises:
      TypeError: `reduce_fn` is neither None nor a function.

    Example:
      >>> values, where = jnp.array([1.0, 3.0, 5.0]), jnp.array([True, True, False])
      >>> for reduce_fn in (None, jnp.mean, jnp.sum, lambda values: values.max()):
      ...     print(apply_reduction(reduce_fn, values, where))
      [1. 3. 0.]
      2.0
      4.0
      3.0
    """
    if reduce_fn is not None and not callable(reduce_fn):
        raise TypeError(f"reduce_fn: got {reduce_fn!r}, expected None or a function of the values")
    values = jnp.where(where, values, 0)
    if weights is not None:
        axes = range(weights.ndim, values.ndim)
        weights = jnp.broadcast_to(jnp.expand_dims(weights, tuple(axes)), values.shape)
        weights = weights.astype(values.dtype)
    if reduce_fn is None:
        return _weighted(values, where, weights)
    return _reduced(reduce_fn, values, where, weights)


def row_means(values: jax.Array, where: jax.Array) -> jax.Array:
    """Mean of each row of a matrix over the columns that count; 0 where none does.

    Example:
      >>> where = jnp.array([[True, True], [False, True]])
      >>> print(row_means(jnp.array([[1.0, 3.0], [5.0, 7.0]]), where))
      [2. 7.]
    """
    return jnp.where(where, values, 0).sum(1) / jnp.maximum(where.sum(1), 1).astype(values.dtype)


def _reduced(reduce_fn: Callable, values, where, weights) -> jax.Array:
    """Calls the function with what it takes; 0 with zero gradient when no term counts."""
    reduce_fn = next((own for other, own in _ALIASES if reduce_fn is other), reduce_fn)
    takes = _parameters(reduce_fn)
    given = {}
    if "weights" in takes:
        given["weights"] = weights
    else:
        values = _weighted(values, where, weights)
    some = where.any()
    if "where" in takes:
        # The mean of nothing is NaN, so a function sees all of the zeros instead.
        given["where"] = where | ~some
    return jnp.where(some, reduce_fn(values, **given), 0)


def _parameters(function: Callable) -> set[str]:
    """The names of a function's parameters; none where Python does not know them."""
    try:
        return set(inspect.signature(function).parameters)
    except ValueError:
        return set()


def _weighted(values: jax.Array, where: jax.Array, weights: jax.Array | None) -> jax.Array:
    """Values times their weights; whatever weighs what does not count has no effect."""
    return values if weights is None else values * jnp.where(where, weights, 0)


def _checked(values: jax.Array, where: jax.Array | None, weights: jax.Array | None) -> jax.Array:
    """The mask of the values that count, once it and the weights are of the right kind."""
    for name, array, kind in (("where", where, "bool"), ("weights", weights, "float")):
        if array is not None:
            check_kind(name, array, kind)
            if array.shape != values.shape:
                shapes = f"got shape {list(array.shape)}, expected {list(values.shape)}"
                raise ValueError(f"{name}: {shapes} as the values")
    return jnp.ones(values.shape, bool) if where is None else where
