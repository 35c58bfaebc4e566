"""Norms, distances and cosines whose gradient is finite everywhere, also at zero."""

import jax
import jax.numpy as jnp


def upcast(array: jax.Array) -> jax.Array:
    """Gives a floating array float32 at least: losses of half precision lose their small terms."""
    # NumPy's float64 is float32 to JAX, unless float64 is enabled.
    dtype = jax.dtypes.canonicalize_dtype(array.dtype)
    return jnp.asarray(array, jnp.promote_types(dtype, jnp.float32))


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
    x: jax.Array, y: jax.Array | None = None, *, where: jax.Array | None = None
) -> jax.Array:
    """Squared Euclidean distance between every two rows.

    ||x_i - y_j||^2 = |x_i|^2 + |y_j|^2 - 2 <x_i, y_j>, centred first, which costs n * m floats
    instead of n * m * dim. What is below the rounding error of that difference is 0, so
    duplicates are at distance 0 exactly, with zero gradient.

    Args:
      x: [n, dim], floating, below 1e15 in size.
      y: [m, dim]; None: x.
      where: bool [m], rows of y that count: what stands in the others changes no distance between
        those that do; None: all.

    Returns:
      [n, m], float32 at least, not negative.

    Example:
      >>> print(squared_distances(jnp.array([[0.0, 0.0], [3.0, 4.0]])))
      [[ 0. 25.]
       [25.  0.]]
    """
    x = upcast(x)
    y = x if y is None else upcast(y)
    # Distances do not change with the origin, so neither does the gradient.
    centre = jax.lax.stop_gradient(_centre(y, where))
    x, y = x - centre, y - centre
    lengths = jnp.square(x).sum(-1)[:, None] + jnp.square(y).sum(-1)[None, :]
    squares = lengths - 2 * inner_products(x, y)
    # NaN is not below anything, and stays.
    return jnp.where(squares <= 8 * jnp.finfo(squares.dtype).eps * lengths, 0, squares)


def distances(
    x: jax.Array, y: jax.Array | None = None, *, where: jax.Array | None = None
) -> jax.Array:
    """Euclidean distance between every two rows; zero gradient at distance 0.

    Args:
      x: [n, dim], floating.
      y: [m, dim]; None: x.
      where: bool [m], rows of y that count; None: all.

    Returns:
      [n, m], float32 at least.

    Example:
      >>> print(distances(jnp.array([[0.0, 0.0], [3.0, 4.0]])))
      [[0. 5.]
       [5. 0.]]
    """
    return safe_sqrt(squared_distances(x, y, where=where))


def _centre(rows: jax.Array, where: jax.Array | None) -> jax.Array:
    """The mean [1, dim] of the rows that count, 0 where there is none."""
    if where is None:
        return rows.mean(axis=0, keepdims=True)
    valid = where[:, None]
    return jnp.where(valid, rows, 0).sum(axis=0, keepdims=True) / jnp.maximum(valid.sum(), 1)
