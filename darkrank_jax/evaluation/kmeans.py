"""K-means on the accelerator."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

_ROUNDS = 50
# Distances held at once: 64 MiB of float32.
TILE = 2**24


@functools.partial(jax.jit, static_argnames="num_clusters")
def kmeans(
    points: Float[Array, "n dim"], *, num_clusters: int, key: PRNGKeyArray
) -> tuple[Int[Array, " n"], Float[Array, ""]]:
    """Lloyd's k-means from k-means++ centres (Arthur and Vassilvitskii, SODA 2007).

    At most 50 rounds. A cluster that loses all its points keeps its centre.

    Args:
      points: [n, dim] float32, near the origin, where float32 tells their distances apart.
      num_clusters: k, at most n.
      key: of the first centres.

    Returns:
      The cluster of each point, 0 to k - 1, and the sum of squared distances to the centres.

    Example:
      >>> points = jnp.array([[0.0], [1.0], [9.0]])
      >>> clusters, spread = kmeans(points, num_clusters=2, key=jax.random.key(0))
      >>> bool(clusters[0] == clusters[1]), bool(clusters[0] == clusters[2]), float(spread)
      (True, False, 0.5)
    """
    centres = _first_centres(points, num_clusters, key)

    def update(state: tuple) -> tuple:
        centres, clusters, _, round_ = state
        ones = jnp.ones(points.shape[0], points.dtype)
        counts = jax.ops.segment_sum(ones, clusters, num_clusters)[:, None]
        sums = jax.ops.segment_sum(points, clusters, num_clusters)
        centres = jnp.where(counts > 0, sums / jnp.maximum(counts, 1), centres)
        moved = _assign(points, centres)
        return centres, moved, jnp.any(moved != clusters), round_ + 1

    def going(state: tuple) -> jax.Array:
        return state[2] & (state[3] < _ROUNDS)

    start = (centres, _assign(points, centres), jnp.array(True), 0)
    centres, clusters, _, _ = jax.lax.while_loop(going, update, start)
    return clusters, jnp.sum((points - centres[clusters]) ** 2)


def _first_centres(points: jax.Array, num_clusters: int, key: PRNGKeyArray) -> jax.Array:
    """Points drawn one after the other, each in proportion to its squared distance so far."""
    first_key, key = jax.random.split(key)
    first = points[jax.random.randint(first_key, (), 0, points.shape[0])]
    centres = jnp.zeros((num_clusters, points.shape[1]), points.dtype).at[0].set(first)

    def add(index: jax.Array, state: tuple) -> tuple:
        centres, nearest = state
        # Where every point is a centre already, all are as good.
        logits = jnp.where(jnp.any(nearest > 0), jnp.log(nearest), jnp.zeros_like(nearest))
        chosen = points[jax.random.categorical(jax.random.fold_in(key, index), logits)]
        distance = jnp.sum((points - chosen[None]) ** 2, axis=1)
        return centres.at[index].set(chosen), jnp.minimum(nearest, distance)

    nearest = jnp.sum((points - first[None]) ** 2, axis=1)
    return jax.lax.fori_loop(1, num_clusters, add, (centres, nearest))[0]


def _assign(points: jax.Array, centres: jax.Array) -> jax.Array:
    """The nearest centre of each point, in groups of points that bound the memory."""
    lengths = jnp.sum(centres**2, axis=1)

    def assign(tile: jax.Array) -> jax.Array:
        products = jnp.matmul(tile, centres.T, precision=jax.lax.Precision.HIGHEST)
        return jnp.argmax(2 * products - lengths[None], axis=1)

    size = max(1, TILE // len(centres))
    if len(points) <= size:
        return assign(points)
    whole = len(points) // size * size
    tiles = points[:whole].reshape(-1, size, points.shape[1])
    first = jax.lax.map(assign, tiles).reshape(-1)
    return jnp.concatenate([first, assign(points[whole:])])
