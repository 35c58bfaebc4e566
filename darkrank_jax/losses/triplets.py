"""Losses on triplets: the positive must be nearer to the anchor than the negative, by a margin."""

import jax
import jax.numpy as jnp

from darkrank_jax.losses import miners
from darkrank_jax.losses.checks import check_choice, check_given
from darkrank_jax.losses.masks import labelled_pairs, triplet_mask
from darkrank_jax.losses.pairwise import distances, normalize, squared_distances
from darkrank_jax.losses.reductions import ReduceFn, apply_reduction, mean, mean_nonzero


def triplet_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    margin: float = 0.2,
    mining: str = "all",
    normalize_embeddings: bool = True,
    num_anchors: int | None = None,
    key: jax.Array | None = None,
    where: jax.Array | None = None,
    reduce_fn: ReduceFn = mean_nonzero,
) -> jax.Array:
    """Triplet loss.

    max(0, d(anchor, positive) - d(anchor, negative) + margin), mean over the terms above 0

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch].
      margin: by how much the negative must be farther.
      mining: "all" triplets (batch^3 terms); "hard": the farthest positive and the nearest
        negative of each anchor; "semi_hard": for each positive pair the nearest negative beyond
        it; "distance_weighted": for each positive pair a negative drawn evenly over distances,
        which needs `key`. See `miners`.
      normalize_embeddings: L2-normalise first.
      num_anchors: only so many first rows are anchors; None: all.
      key: random key, needed by "distance_weighted" alone.
      where: bool [batch], rows that count; None: all.
      reduce_fn: reduces one value for each triplet, see `reductions`.

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, unknown mining, no key.

    Example:
      >>> embeddings = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
      >>> labels = jnp.array([0, 0, 1, 1])
      >>> round(float(triplet_loss(embeddings, labels, margin=0.3)), 4)
      0.3
      >>> round(float(triplet_loss(embeddings, labels, margin=0.3, mining="hard")), 4)
      0.3

    Source: Schroff, Kalenichenko, Philbin, FaceNet, CVPR 2015, eq. 3; "hard": Hermans, Beyer,
    Leibe, 2017, eq. 5. Distances are not squared.
    """
    check_choice("mining", mining, ("all", *_MINERS))
    embeddings, positives, negatives = labelled_pairs(embeddings, labels, where, num_anchors)
    embeddings = normalize(embeddings) if normalize_embeddings else embeddings
    lengths = distances(embeddings[:num_anchors], embeddings)
    if mining == "all":
        gaps = lengths[:, :, None] - lengths[:, None, :]
        valid = triplet_mask(positives, negatives)
    else:
        positive, negative, valid = _MINERS[mining](
            jax.lax.stop_gradient(lengths), positives, negatives, embeddings.shape[1], key
        )
        gaps = jnp.take_along_axis(lengths, positive, axis=1)
        gaps -= jnp.take_along_axis(lengths, negative, axis=1)
    return apply_reduction(reduce_fn, jax.nn.relu(gaps + margin), valid)


def lmnn_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    margin: float = 1.0,
    push_weight: float = 0.5,
    num_anchors: int | None = None,
    where: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Large margin nearest neighbour: pull the positives, push what is nearer than a margin beyond.

    (1 - w) mean over positive pairs of d_ap^2
    + w mean over triplets of max(0, d_ap^2 - d_an^2 + margin)

    Args:
      embeddings: [batch, dim], floating, used as given.
      labels: integer [batch].
      margin: by how much the squared distance of the negative must be greater.
      push_weight: w, from 0 to 1.
      num_anchors: only so many first rows are anchors; None: all.
      where: bool [batch], rows that count; None: all.
      reduce_fn: reduces one value for each pair, and one for each triplet, see `reductions`.

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree.

    Example:
      >>> embeddings = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
      >>> round(float(lmnn_loss(embeddings, jnp.array([0, 0, 1, 1]), push_weight=0.25)), 4)
      0.8125

    Source: Weinberger and Saul, Distance metric learning for large margin nearest neighbor
    classification, JMLR 2009, eq. 11-13; every positive is a target neighbour, sums are means.
    """
    embeddings, positives, negatives = labelled_pairs(embeddings, labels, where, num_anchors)
    squares = squared_distances(embeddings[:num_anchors], embeddings)
    pull = apply_reduction(reduce_fn, squares, positives)
    gaps = squares[:, :, None] - squares[:, None, :]
    push = apply_reduction(
        reduce_fn, jax.nn.relu(gaps + margin), triplet_mask(positives, negatives)
    )
    return (1 - push_weight) * pull + push_weight * push


def _hard(lengths, positives, negatives, dim, key) -> miners.Triplets:
    """Batch hard."""
    return miners.hard_triplets(lengths, positives, negatives)


def _semi_hard(lengths, positives, negatives, dim, key) -> miners.Triplets:
    """Semi-hard."""
    return miners.semi_hard_triplets(lengths, positives, negatives)


def _distance_weighted(lengths, positives, negatives, dim, key) -> miners.Triplets:
    """Distance weighted."""
    check_given("key", key, 'mining is "distance_weighted"')
    return miners.distance_weighted_triplets(lengths, positives, negatives, dim=dim, key=key)


_MINERS = {"hard": _hard, "semi_hard": _semi_hard, "distance_weighted": _distance_weighted}
