"""Retrieval metrics of a set against itself: each image is a query, the others are its gallery."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from darkrank_jax.evaluation.inputs import prepare

# Queries whose distances are held at once, which bounds the memory.
_QUERIES = 128
# Metrics of which queries without another image of their class are left out.
_OF_MATCHED = (
    "precision_at_1",
    "map_at_r",
    "r_precision",
    "mean_average_precision",
    "mean_reciprocal_rank",
)


def retrieval_metrics(
    embeddings: Float[np.ndarray, "n dim"] | Float[Array, "n dim"],
    labels: Int[np.ndarray, " _"],
    *,
    ks: Sequence[int] = (1, 2, 4, 8),
) -> dict[str, float]:
    """Recall@K, MAP@R, R-precision, mean average precision and mean reciprocal rank.

    With the R other images of the query's class at ranks r_1 < ... < r_R by Euclidean distance:
    Recall@K = [r_1 <= K]; MAP@R = 1/R sum over r_k <= R of k / r_k; R-precision = share of r_k
    <= R; AP = 1/R sum of k / r_k; reciprocal rank = 1 / r_1; each a mean over queries.

    A query is left out of its own gallery by index, never by distance. An image of another class
    at the same distance, as far as float32 can tell, counts as nearer, whatever the order of rows:
    embeddings that all collapse to one point score as badly as they are. A query that is alone in
    its class counts as a miss for Recall@K and is left out of the other figures, as is usual.

    Args:
      embeddings: [n, dim], finite.
      labels: int [n].
      ks: the K of Recall@K.

    Returns:
      "recall_at_K" for each K, "precision_at_1", "map_at_r", "r_precision",
      "mean_average_precision", "mean_reciprocal_rank", and "queries_alone", the number of queries
      alone in their class.

    Raises:
      UserError: no embeddings, embeddings that are not finite, labels of another length.

    Example:
      >>> embeddings = np.array([[0.0], [1.0], [2.5], [2.6], [6.0]], np.float32)
      >>> scores = retrieval_metrics(embeddings, np.array([0, 0, 1, 0, 1]), ks=(1, 2))
      >>> scores["recall_at_1"], scores["recall_at_2"], round(scores["map_at_r"], 4)
      (0.4, 0.8, 0.25)

    Source: Musgrave, Belongie, Lim, A metric learning reality check, ECCV 2020, section 3.2.
    """
    embeddings, labels = prepare(embeddings, labels)
    members, counts = _members(labels)
    gallery = jnp.asarray(embeddings)
    ranks = np.concatenate(
        [
            np.asarray(_positive_ranks(gallery, members[labels[rows]], rows))
            for rows in np.array_split(np.arange(len(labels)), -(-len(labels) // _QUERIES))
        ]
    )
    return _from_ranks(np.sort(ranks, axis=1), counts[labels] - 1, ks)


def _members(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of each class as a rectangle filled up with -1, and how many there are."""
    counts = np.bincount(labels)
    members = np.full((len(counts), counts.max()), -1)
    members[np.arange(counts.max()) < counts[:, None]] = np.argsort(labels, kind="stable")
    return members, counts


@jax.jit
def _positive_ranks(gallery: jax.Array, positives: jax.Array, rows: jax.Array) -> jax.Array:
    """Ranks [queries, class size] of the positives; what is no other image of the class is last."""
    queries, lengths = gallery[rows], jnp.sum(gallery**2, axis=1)
    # Twice the inner product less the squared length ranks as the distance does.
    products = jnp.matmul(queries, gallery.T, precision=jax.lax.Precision.HIGHEST)
    nearness = 2 * products - lengths[None]
    valid = (positives >= 0) & (positives != rows[:, None])
    own = jnp.take_along_axis(nearness, jnp.maximum(positives, 0), axis=1)
    own = jnp.where(valid, own, -jnp.inf)
    # The class's images, the query too, are no negatives; -1 falls outside and is dropped.
    places = jnp.where(positives >= 0, positives, gallery.shape[0])
    line = jnp.arange(len(rows))[:, None]
    negatives = nearness.at[line, places].set(-jnp.inf, mode="drop")
    rounding = 8 * jnp.finfo(nearness.dtype).eps * (lengths[rows][:, None] + lengths[positives])
    # One positive after the other: seen all at once, they take ten times as long on a CPU.
    nearer = jax.lax.map(
        lambda column: jnp.sum(negatives >= column[:, None], axis=1), (own - rounding).T
    ).T
    order = jnp.argsort(jnp.argsort(-own, axis=1), axis=1)
    return jnp.where(valid, 1 + nearer + order, jnp.iinfo(jnp.int32).max)


def _from_ranks(ranks: np.ndarray, totals: np.ndarray, ks: Sequence[int]) -> dict[str, float]:
    """The metrics of sorted ranks [n, class size], of which the first `totals` are positives."""
    scores = {f"recall_at_{k}": float(np.mean((ranks[:, 0] <= k) & (totals > 0))) for k in ks}
    alone = totals == 0
    if alone.all():
        return scores | dict.fromkeys(_OF_MATCHED, 0.0) | {"queries_alone": float(len(totals))}
    ranks, totals = ranks[~alone].astype(np.float64), totals[~alone]
    place = np.arange(1, ranks.shape[1] + 1)
    precision = np.where(place <= totals[:, None], place / ranks, 0.0)
    within = ranks <= totals[:, None]
    values = (
        ranks[:, 0] == 1,
        (precision * within).sum(axis=1) / totals,
        within.sum(axis=1) / totals,
        precision.sum(axis=1) / totals,
        1 / ranks[:, 0],
    )
    means = {name: float(np.mean(value)) for name, value in zip(_OF_MATCHED, values, strict=True)}
    return scores | means | {"queries_alone": float(alone.sum())}
