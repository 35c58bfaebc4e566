"""Losses on triplets: the positive must be nearer to the anchor than the negative, by a margin."""

import functools

import jax
import jax.numpy as jnp

from darkrank_jax.losses import miners
from darkrank_jax.losses.internals.checks import (
    check_arrays,
    check_choice,
    check_flags,
    check_given,
    check_range,
)
from darkrank_jax.losses.internals.devices import on_any_mesh
from darkrank_jax.losses.internals.sorting import argsort, sort
from darkrank_jax.losses.masks import labelled_pairs
from darkrank_jax.losses.pairwise import (
    distances,
    nan_if,
    normalize,
    safe_divide,
    squared_distances,
)
from darkrank_jax.losses.reductions import ReduceFn, apply_reduction, mean, mean_nonzero


@on_any_mesh
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
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean_nonzero,
) -> jax.Array:
    """Triplet loss.

    max(0, d(anchor, positive) - d(anchor, negative) + margin), mean over the terms above 0

    With "all", differentiates in reverse mode alone, as often as wanted.

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch].
      margin: by how much the negative must be farther.
      mining: "all" triplets, found by sorting: batch^2 log(batch) steps, batch^2 memory; "hard":
        the farthest positive and the nearest negative of each anchor; "semi_hard": for each
        positive pair the nearest negative beyond it; "distance_weighted": for each positive pair
        a negative drawn evenly over distances, which needs `key`. See `miners`.
      normalize_embeddings: L2-normalise first.
      num_anchors: how many first rows are anchors; None: all.
      key: random key, needed by "distance_weighted" alone.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row as an anchor; None: 1.
      reduce_fn: reduces one value for each triplet, see `reductions`; for "all", two for each
        positive pair, weighted by their triplets: the mean of those above 0, and 0 for the rest.
        None: [anchors, batch], the sum over each positive pair's triplets; [anchors, 1] for "hard".

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

    Source: Schroff, Kalenichenko, Philbin, FaceNet, CVPR 2015; "hard": Hermans, Beyer,
    Leibe, 2017. Distances are not squared.
    """
    check_choice("mining", mining, ("all", *_MINERS))
    check_flags(normalize_embeddings=normalize_embeddings)
    embeddings, positives, negatives, weights = labelled_pairs(
        embeddings, labels, where, weights, num_anchors
    )
    embeddings = normalize(embeddings) if normalize_embeddings else embeddings
    lengths = distances(embeddings, num_anchors=num_anchors)
    if mining == "all":
        return _all_triplets(lengths, positives, negatives, margin, weights, reduce_fn)
    triplets = _mined(mining, lengths, positives, negatives, embeddings.shape[1], key)
    pulls, pushes = _pairs_of(triplets, lengths)
    terms = jax.nn.relu(pulls - pushes + margin)
    values = apply_reduction(reduce_fn, terms, triplets.valid, weights)
    return nan_if(jnp.isnan(lengths), values)


@on_any_mesh
def lmnn_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    margin: float = 1.0,
    push_weight: float = 0.5,
    num_anchors: int | None = None,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Large margin nearest neighbour: pull the positives, push what is nearer than a margin beyond.

    (1 - w) mean over positive pairs of d_ap^2
    + w mean over triplets of max(0, d_ap^2 - d_an^2 + margin)

    Differentiates in reverse mode alone, as often as wanted.

    Args:
      embeddings: [batch, dim], floating, used as given.
      labels: integer [batch].
      margin: by how much the squared distance of the negative must be greater.
      push_weight: w, from 0 to 1.
      num_anchors: how many first rows are anchors; None: all.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row as an anchor; None: 1.
      reduce_fn: reduces one value for each positive pair, and the triplets as in `triplet_loss`;
        None: [anchors, batch].

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a number out of range.

    Example:
      >>> embeddings = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
      >>> round(float(lmnn_loss(embeddings, jnp.array([0, 0, 1, 1]), push_weight=0.25)), 4)
      0.8125

    Source: Weinberger and Saul, Distance metric learning for large margin nearest neighbor
    classification, JMLR 2009; every positive is a target neighbour, sums are means.
    """
    check_range("push_weight", push_weight, 0, 1)
    embeddings, positives, negatives, weights = labelled_pairs(
        embeddings, labels, where, weights, num_anchors
    )
    squares = squared_distances(embeddings, num_anchors=num_anchors)
    pull = apply_reduction(reduce_fn, squares, positives, weights)
    push = _all_triplets(squares, positives, negatives, margin, weights, reduce_fn)
    return (1 - push_weight) * pull + push_weight * push


@on_any_mesh
def margin_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    margin: float = 0.2,
    beta: float | jax.Array = 1.2,
    mining: str = "all",
    normalize_embeddings: bool = True,
    num_anchors: int | None = None,
    key: jax.Array | None = None,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean_nonzero,
) -> jax.Array:
    """Margin loss: a boundary between positive and negative distances, with a margin around it.

    max(0, d_ap - beta + margin) and max(0, beta - d_an + margin) of all triplets, mean over the
    terms above 0

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch].
      margin: half the width of the band between positives and negatives.
      beta: the boundary, as an array to be learnt; a scalar, or [batch], one for each anchor,
        such as `betas[labels]` for one a class.
      mining: "all" triplets, "hard", "semi_hard" or "distance_weighted", as in `triplet_loss`; the
        paper's is "distance_weighted", which needs `key`.
      normalize_embeddings: L2-normalise first.
      num_anchors: how many first rows are anchors; None: all.
      key: random key, needed by "distance_weighted" alone.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row as an anchor; None: 1.
      reduce_fn: reduces one value for each pair, times its triplets, see `reductions`; of
        mined triplets one for each of both pairs. None: [anchors, batch]; [anchors, 1] for "hard".

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, unknown mining, no key.

    Example:
      >>> embeddings = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
      >>> round(float(margin_loss(embeddings, jnp.array([0, 0, 1, 1]), beta=1.0)), 4)
      0.4346

    Source: Wu et al., Sampling matters in deep embedding learning, ICCV 2017.
    """
    check_choice("mining", mining, ("all", *_MINERS))
    embeddings, positives, negatives, weights = labelled_pairs(
        embeddings, labels, where, weights, num_anchors
    )
    if jnp.ndim(beta):
        check_arrays(embeddings=(embeddings, "float", "batch dim"), beta=(beta, "real", "batch"))
        beta = jnp.asarray(beta)[:num_anchors, None]
    check_flags(normalize_embeddings=normalize_embeddings)
    embeddings = normalize(embeddings) if normalize_embeddings else embeddings
    lengths = distances(embeddings, num_anchors=num_anchors)
    if mining != "all":
        triplets = _mined(mining, lengths, positives, negatives, embeddings.shape[1], key)
        pulls, pushes = _pairs_of(triplets, lengths)
        values = jax.nn.relu(jnp.stack([pulls - beta, beta - pushes], -1) + margin)
        valid = jnp.broadcast_to(triplets.valid[:, :, None], values.shape)
        reduced = apply_reduction(reduce_fn, values, valid, weights)
        reduced = reduced.sum(-1) if reduce_fn is None else reduced
        return nan_if(jnp.isnan(lengths), reduced)
    # The triplets of a pair: one for each partner of its anchor on the other side.
    partners = (mask.sum(1, keepdims=True) for mask in (negatives, positives))
    times = jnp.where(positives, *partners)
    values = jax.nn.relu(jnp.where(positives, lengths - beta, beta - lengths) + margin)
    times_weights = times if weights is None else times * weights[:, None]
    return apply_reduction(
        reduce_fn, values, (positives | negatives) & (times > 0), times_weights.astype(values.dtype)
    )


def _all_triplets(lengths, positives, negatives, margin, weights, reduce_fn) -> jax.Array:
    """Reduces max(0, l_ap - l_an + margin) over all triplets, without a term for each."""
    sums, counts = _hinges(lengths + margin, lengths, negatives)
    met = negatives.sum(1, keepdims=True) - counts
    values = jnp.stack([safe_divide(sums, counts), jnp.zeros_like(sums)], -1)
    times = jnp.stack([counts, met], -1)
    valid = positives[:, :, None] & (times > 0)
    if weights is not None:
        times = times * weights[:, None, None]
    reduced = apply_reduction(reduce_fn, values, valid, times.astype(values.dtype))
    return reduced.sum(-1) if reduce_fn is None else reduced


@jax.custom_vjp
def _hinges(bounds: jax.Array, lengths: jax.Array, negatives: jax.Array) -> tuple:
    """Sum over negatives n of max(0, bound_ap - length_an), and how many are above 0.

    Those are the first of the sorted negatives, so a cumulative sum has their sum.
    """
    # Lengths alike but far from 0 would lose their differences in the cumulative sum.
    count = jnp.maximum(negatives.sum(1, keepdims=True), 1)
    shift = jnp.where(negatives, lengths, 0).sum(1, keepdims=True) / count
    nearest = sort(jnp.where(negatives, lengths - shift, jnp.inf))
    below = _count_below(nearest, bounds - shift, side="left")
    counts = below.astype(lengths.dtype)
    return jax.nn.relu(counts * (bounds - shift) - _sum_of_first(nearest, below)), counts


def _hinges_forward(bounds, lengths, negatives):
    sums, counts = _hinges(bounds, lengths, negatives)
    return (sums, counts), (bounds, lengths, negatives, counts)


def _hinges_backward(residuals, cotangents):
    """Each negative pushes against the bounds above it, found by sorting the bounds."""
    bounds, lengths, negatives, counts = residuals
    order = argsort(bounds)
    bounds, slopes = (jnp.take_along_axis(x, order, axis=1) for x in (bounds, cotangents[0]))
    not_above = _sum_of_first(slopes, _count_below(bounds, lengths, side="right"))
    above = slopes.sum(1, keepdims=True) - not_above
    return cotangents[0] * counts, jnp.where(negatives, -above, 0), None


_hinges.defvjp(_hinges_forward, _hinges_backward)


def _count_below(rows: jax.Array, bounds: jax.Array, side: str) -> jax.Array:
    """How many entries of each sorted row are below each of its bounds (or, "right", at it)."""
    return jax.vmap(functools.partial(jnp.searchsorted, side=side))(rows, bounds)


def _sum_of_first(rows: jax.Array, counts: jax.Array) -> jax.Array:
    """Sums of the first `counts` entries of each row."""
    sums = jnp.pad(jnp.cumsum(rows, axis=1), [(0, 0), (1, 0)])
    return jnp.take_along_axis(sums, counts, axis=1)


def _pairs_of(triplets: miners.Triplets, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The distances of the triplets' positives and negatives, each [anchors, n]."""
    pulls = jnp.take_along_axis(lengths, triplets.positive, axis=1)
    return pulls, jnp.take_along_axis(lengths, triplets.negative, axis=1)


def _mined(mining, lengths, positives, negatives, dim, key) -> miners.Triplets:
    """Triplets by name; no gradient goes through the choice."""
    return _MINERS[mining](jax.lax.stop_gradient(lengths), positives, negatives, dim, key)


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
