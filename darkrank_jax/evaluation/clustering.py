"""Clustering of embeddings by k-means, and how well it agrees with the classes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

_ITERATIONS = 50


def clustering_metrics(
    embeddings: Float[np.ndarray, "n dim"], labels: Int[np.ndarray, " n"], *, key: PRNGKeyArray
) -> dict[str, float]:
    """Clusters embeddings into as many groups as there are classes and compares.

    Args:
      embeddings: [n, dim], finite.
      labels: int [n].
      key: of k-means's first centres.

    Returns:
      {"nmi": ...}.

    Example:
      >>> embeddings = np.array([[0.0], [0.1], [5.0], [5.2]], np.float32)
      >>> clustering_metrics(embeddings, np.array([3, 3, 7, 7]), key=jax.random.key(0))
      {'nmi': 1.0}
    """
    classes = len(np.unique(labels))
    clusters = kmeans(jnp.asarray(embeddings, jnp.float32), num_clusters=classes, key=key)
    return {"nmi": normalized_mutual_information(np.asarray(clusters), labels)}


@functools.partial(jax.jit, static_argnames="num_clusters")
def kmeans(
    points: Float[Array, "n dim"], *, num_clusters: int, key: PRNGKeyArray
) -> Int[Array, " n"]:
    """Lloyd's k-means from k-means++ centres (Arthur and Vassilvitskii, SODA 2007).

    Args:
      points: [n, dim] float32.
      num_clusters: k, at most n.
      key: of the first centres.

    Returns:
      The cluster of each point, 0 to k - 1. A cluster that loses all its points keeps its centre.
    """
    centres = _first_centres(points, num_clusters, key)

    def update(state: tuple) -> tuple:
        centres, clusters, _, iteration = state
        ones = jnp.ones(points.shape[0], points.dtype)
        counts = jax.ops.segment_sum(ones, clusters, num_clusters)[:, None]
        sums = jax.ops.segment_sum(points, clusters, num_clusters)
        centres = jnp.where(counts > 0, sums / jnp.maximum(counts, 1), centres)
        moved = _assign(points, centres)
        return centres, moved, jnp.any(moved != clusters), iteration + 1

    def going(state: tuple) -> jax.Array:
        return state[2] & (state[3] < _ITERATIONS)

    start = (centres, _assign(points, centres), jnp.array(True), 0)
    return jax.lax.while_loop(going, update, start)[1]


def _first_centres(points: jax.Array, num_clusters: int, key: PRNGKeyArray) -> jax.Array:
    """Points drawn one after the other, each in proportion to its squared distance so far."""
    first_key, key = jax.random.split(key)
    first = points[jax.random.randint(first_key, (), 0, points.shape[0])]
    centres = jnp.zeros((num_clusters, points.shape[1]), points.dtype).at[0].set(first)

    def add(index: int, state: tuple) -> tuple:
        centres, nearest = state
        # Where every point is a centre already, all are as good.
        logits = jnp.where(jnp.any(nearest > 0), jnp.log(nearest), jnp.zeros_like(nearest))
        chosen = points[jax.random.categorical(jax.random.fold_in(key, index), logits)]
        distance = jnp.sum((points - chosen[None]) ** 2, axis=1)
        return centres.at[index].set(chosen), jnp.minimum(nearest, distance)

    nearest = jnp.sum((points - first[None]) ** 2, axis=1)
    return jax.lax.fori_loop(1, num_clusters, add, (centres, nearest))[0]


def _assign(points: jax.Array, centres: jax.Array) -> jax.Array:
    """The nearest centre of each point."""
    products = jnp.matmul(points, centres.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.argmax(2 * products - jnp.sum(centres**2, axis=1)[None], axis=1)


def normalized_mutual_information(
    clusters: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"]
) -> float:
    """Mutual information of two groupings over the mean of their entropies.

    NMI = 2 I(clusters; labels) / (H(clusters) + H(labels)); 1 where both groupings are one group.

    Args:
      clusters: int [n].
      labels: int [n].

    Returns:
      0 (independent) to 1 (the same up to names).

    Example:
      >>> round(normalized_mutual_information(np.array([0, 0, 1, 1]), np.array([5, 5, 5, 9])), 4)
      0.3437

    Source: Strehl and Ghosh, JMLR 2002, with the arithmetic mean, as scikit-learn has it.
    """
    clusters = np.unique(clusters, return_inverse=True)[1]
    labels = np.unique(labels, return_inverse=True)[1]
    cells = clusters.astype(np.int64) * (labels.max() + 1) + labels
    entropies = [_entropy(grouping) for grouping in (clusters, labels, cells)]
    if entropies[0] + entropies[1] == 0:
        return 1.0
    shared = max(entropies[0] + entropies[1] - entropies[2], 0.0)
    return 2 * shared / (entropies[0] + entropies[1])


def _entropy(grouping: np.ndarray) -> float:
    """Entropy of the group sizes, in nats."""
    counts = np.unique(grouping, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-np.sum(shares * np.log(shares)))
