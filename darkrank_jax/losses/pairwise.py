"""Norms, distances and cosines whose gradient is finite everywhere, also at zero."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

# Rows whose differences from all others are one fused loop.
_ROWS = 32


def upcast(array: jax.Array) -> jax.Array:
    """Gives a floating array float32 at least: losses of half precision lose their small terms."""
    # NumPy's float64 is float32 to JAX, unless float64 is enabled.
    dtype = jax.dtypes.canonicalize_dtype(array.dtype)
    # Types of 8 bits and less are promoted to nothing by themselves.
    narrow = dtype.itemsize < 4 or not jnp.issubdtype(dtype, jnp.floating)
    return jnp.asarray(array, jnp.float32 if narrow else dtype)


def zero_rows(array: jax.Array, valid: jax.Array) -> jax.Array:
    """Upcasts and zeroes the rows that do not count, so that nothing in them reaches a result."""
    return jnp.where(jnp.expand_dims(valid, tuple(range(1, array.ndim))), upcast(array), 0)


def safe_sqrt(values: jax.Array) -> jax.Array:
    """Square root with zero gradient at zero and below."""
    zero = values <= 0
    # Both branches must be finite: the gradient of the branch not taken is multiplied by zero.
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, values)))


def safe_divide(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """Quotient that is 0 with zero gradient where the denominator is 0."""
    zero = denominator == 0
    return jnp.where(zero, 0, numerator / jnp.where(zero, 1, denominator))


def nan_if(wrong: jax.Array, loss: jax.Array) -> jax.Array:
    """The loss, or NaN with its gradient if anything is wrong that sorting or comparing hides."""
    return loss * jnp.where(wrong.any(), jnp.nan, jnp.ones_like(loss))


def normalize(vectors: jax.Array, *, axis: int = -1) -> jax.Array:
    """Vectors over their L2 norm; zero vectors stay zero, with zero gradient.

    Args:
      vectors: any shape, floating.
      axis: the axis of the vectors' components.

    Returns:
      Array of the same shape, float32 at least.

    Example:
      >>> print(normalize(jnp.array([[3.0, 4.0], [0.0, 0.0]])))
      [[0.6 0.8]
       [0.  0. ]]
    """
    vectors = upcast(vectors)
    # Scaled first, so that squares neither overflow nor vanish.
    largest = jax.lax.stop_gradient(jnp.abs(vectors).max(axis, keepdims=True))
    scaled = safe_divide(vectors, largest)
    return safe_divide(scaled, safe_sqrt(jnp.square(scaled).sum(axis, keepdims=True)))


def inner_products(x: jax.Array, y: jax.Array) -> jax.Array:
    """Inner products [n, m] of rows [n, dim] and [m, dim]; no accelerator rounds the factors."""
    return jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)


def cosines(x: jax.Array, y: jax.Array | None = None) -> jax.Array:
    """Cosine of the angle between every two rows; 0 with zero gradient for zero vectors.

    Args:
      x: [n, dim], floating.
      y: [m, dim]; None: x.

    Returns:
      [n, m], float32 at least.

    Example:
      >>> print(cosines(jnp.array([[1.0, 0.0], [2.0, 2.0]])).round(3))
      [[1.    0.707]
       [0.707 1.   ]]
    """
    x = normalize(x)
    return inner_products(x, x if y is None else normalize(y))


def squared_distances(
    x: jax.Array, y: jax.Array | None = None, *, num_anchors: int | None = None
) -> jax.Array:
    """Squared Euclidean distance between every two rows, from their differences.

    |x|^2 + |y|^2 - 2 <x, y> is faster, but in float32 it is wrong by 1e-7 |x|^2: a tenth of the
    square where unit vectors are .001 apart. Differences keep six digits of value and gradient
    however near two rows are, in n * m floats: XLA fuses each difference into its sum.

    Args:
      x: [n, dim], floating, below 1e15 in size.
      y: [m, dim]; None: x.
      num_anchors: how many first rows of x are anchors, where y is None; None: all.

    Returns:
      [n, m], or [num_anchors, n] where y is None; float32 at least, not negative, 0 with zero
      gradient for duplicates.

    Example:
      >>> print(squared_distances(jnp.array([[0.0, 0.0], [3.0, 4.0]])))
      [[ 0. 25.]
       [25.  0.]]
    """
    x = upcast(x)
    if y is not None:
        return _squares(x, upcast(y))
    if num_anchors is None or num_anchors == x.shape[0]:
        return _squares(x, None)
    return _squares(x[:num_anchors], x)


def distances(
    x: jax.Array, y: jax.Array | None = None, *, num_anchors: int | None = None
) -> jax.Array:
    """Euclidean distance between every two rows; zero gradient at distance 0.

    Args:
      x: [n, dim], floating.
      y: [m, dim]; None: x.
      num_anchors: how many first rows of x are anchors, where y is None; None: all.

    Returns:
      [n, m], or [num_anchors, n] where y is None; float32 at least.

    Example:
      >>> print(distances(jnp.array([[0.0, 0.0], [3.0, 4.0]])))
      [[0. 5.]
       [5. 0.]]
    """
    return safe_sqrt(squared_distances(x, y, num_anchors=num_anchors))


@jax.custom_jvp
def _squares(x: jax.Array, y: jax.Array | None) -> jax.Array:
    """Squared distances [n, m] between rows of x and of y, or of x where y is None."""
    return jnp.square(x[:, None] - (x if y is None else y)[None]).sum(-1)


@_squares.defjvp
def _squares_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """d |x_i - y_j|^2 = 2 <x_i - y_j, dx_i> + 2 <y_j - x_i, dy_j>."""
    (x, y), (dx, dy) = primals, tangents
    if y is None:
        # Symmetric: in reverse, one pass over cotangents that are added to their transpose.
        slopes = _along(x, x, dx)
        slopes += slopes.T
    else:
        slopes = _along(x, y, dx) + _along(y, x, dy).T
    return _squares(x, y), 2 * slopes


def _along(x: jax.Array, y: jax.Array, dx: jax.Array) -> jax.Array:
    """<x_i - y_j, dx_i> [n, m]; in reverse, sum_j c_ij (x_i - y_j), also from differences.

    A few rows of y at a time, which XLA fuses into one pass over x: as one sum over [n, m, dim] the
    reverse takes 40 times as long on a CPU.
    """
    size = min(len(y), _ROWS)
    tiles = jnp.pad(y, [(0, -len(y) % size), (0, 0)]).reshape(-1, size, y.shape[1])

    # Else the reverse would find all the differences in memory.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def of_tile(tile: jax.Array, x: jax.Array, dx: jax.Array) -> jax.Array:
        return jnp.stack([((x - row[None]) * dx).sum(-1) for row in tile])

    found = jax.lax.map(lambda tile: of_tile(tile, x, dx), tiles)
    return found.reshape(-1, len(x))[: len(y)].T
