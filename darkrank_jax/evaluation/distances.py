"""Euclidean distances of every query to every gallery image, in one array."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from darkrank_jax.evaluation.gallery_rows import Rows
from darkrank_jax.evaluation.inputs import scaled


def distance_matrix(queries: Rows, gallery: Rows) -> Float[np.ndarray, "n m"]:
    """Euclidean distances of all queries to the whole gallery.

    Args:
      queries: [n, dim], finite.
      gallery: [m, dim], finite.

    Returns:
      [n, m] float32, 4 n m bytes.

    Raises:
      UserError: a set is empty, not finite or of another dimension.

    Example:
      >>> distance_matrix(np.array([[1.0]]), np.array([[0.0], [2.0], [4.0]])).tolist()
      [[1.0, 1.0, 3.0]]
    """
    (sought, points), factor = scaled(queries=queries, gallery=gallery)
    squares = np.asarray(squared_distances(jnp.asarray(sought), jnp.asarray(points)))
    return np.sqrt(squares) * np.float32(factor)


@jax.jit
def squared_distances(
    queries: Float[Array, "n dim"], gallery: Float[Array, "m dim"]
) -> Float[Array, "n m"]:
    """Squared Euclidean distances from inner products, none below 0.

    Args:
      queries: [n, dim], near the origin.
      gallery: [m, dim].

    Returns:
      [n, m].

    Example:
      >>> squared_distances(jnp.array([[1.0]]), jnp.array([[0.0], [3.0]])).tolist()
      [[1.0, 4.0]]
    """
    products = jnp.matmul(queries, gallery.T, precision=jax.lax.Precision.HIGHEST)
    lengths = jnp.sum(queries**2, axis=1)[:, None] + jnp.sum(gallery**2, axis=1)[None]
    return jnp.maximum(lengths - 2 * products, 0)
