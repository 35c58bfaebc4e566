"""Exact nearest neighbours by Euclidean distance, a tile of queries at a time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from darkrank_jax.errors import UserError

# Distances held at once: 128 MiB of float32.
_TILE = 2**25


def nearest_neighbors(
    queries: Float[np.ndarray, "n dim"] | Float[Array, "n dim"],
    gallery: Float[np.ndarray, "m dim"] | Float[Array, "m dim"],
    *,
    k: int,
    exclude_self: bool = False,
) -> tuple[Float[np.ndarray, "n k"], Int[np.ndarray, "n k"]]:
    """Finds the k nearest gallery rows of every query.

    Args:
      queries: [n, dim], finite.
      gallery: [m, dim], finite.
      k: 1 to m, or to m - 1 with `exclude_self`.
      exclude_self: leave row i of the gallery out for query i, by index, so that a duplicate of a
        query is still found; for a set that is searched with itself.

    Returns:
      (distances, indices), nearest first; of two at the same distance the first row comes first.

    Raises:
      UserError: k is out of its range, or `exclude_self` with sets of different length.

    Example:
      >>> points = np.array([[0.0], [5.0], [3.0], [0.0]], np.float32)
      >>> distances, indices = nearest_neighbors(points, points, k=2, exclude_self=True)
      >>> distances.tolist()
      [[0.0, 3.0], [2.0, 5.0], [2.0, 3.0], [0.0, 3.0]]
      >>> indices.tolist()
      [[3, 2], [2, 0], [1, 0], [0, 2]]
    """
    most = len(gallery) - exclude_self
    if not 1 <= k <= most:
        raise UserError(f"k: is {k}, of {most} to be found; give 1 to {most}")
    if exclude_self and len(queries) != len(gallery):
        raise UserError(
            f"exclude_self: {len(queries)} queries are not the {len(gallery)} rows of the gallery; "
            "give the same set twice"
        )
    # Distances do not change with the origin, but their rounding error does.
    centre = np.mean(np.asarray(gallery), axis=0, dtype=np.float64)
    points, sought = (jnp.asarray(np.asarray(x) - centre, jnp.float32) for x in (gallery, queries))
    rows, size = np.arange(len(sought)), max(1, _TILE // len(points))
    tiles = np.split(rows, range(size, len(rows), size))
    found = [_nearest(sought[tile], points, tile if exclude_self else None, k) for tile in tiles]
    distances, indices = zip(*found, strict=True)
    return np.concatenate(distances), np.concatenate(indices)


@functools.partial(jax.jit, static_argnames="k")
def _nearest(
    queries: jax.Array, gallery: jax.Array, own: jax.Array | None, k: int
) -> tuple[jax.Array, ...]:
    """Distances and indices of one tile; `own` names the row that each query leaves out."""
    products = jnp.matmul(queries, gallery.T, precision=jax.lax.Precision.HIGHEST)
    # Twice the inner product less the squared length ranks as the distance does.
    nearness = 2 * products - jnp.sum(gallery**2, axis=1)[None]
    if own is not None:
        nearness = nearness.at[jnp.arange(len(queries)), own].set(-jnp.inf)
    _, indices = jax.lax.top_k(nearness, k)
    # From differences: the few that are returned can afford to be exact.
    indices = jnp.sort(indices, axis=1)
    distances = jnp.linalg.norm(queries[:, None] - gallery[indices], axis=-1)
    order = jnp.argsort(distances, axis=1, stable=True)
    return jnp.take_along_axis(distances, order, axis=1), jnp.take_along_axis(
        indices, order, axis=1
    )
