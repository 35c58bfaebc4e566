"""Average precision with a gradient: ranks by sigmoids, or by a soft histogram of distances."""

import jax
import jax.numpy as jnp

from darkrank_jax.losses.internals.checks import check_positive, check_whole
from darkrank_jax.losses.internals.devices import on_any_mesh
from darkrank_jax.losses.internals.tiles import map_rows
from darkrank_jax.losses.masks import labelled_pairs
from darkrank_jax.losses.pairwise import cosines, normalize, safe_divide, squared_distances
from darkrank_jax.losses.reductions import ReduceFn, apply_reduction, mean


@on_any_mesh
def smooth_ap_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    temperature: float = 0.01,
    num_anchors: int | None = None,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """One minus average precision, with sigmoids for the steps of the ranks.

    1 - mean over p of rank_among_positives(p) / rank_among_all(p),
    rank(p) = 1 + sum_{j != p} sigmoid((s_aj - s_ap) / temperature), s cosine, mean over anchors

    Costs batch^3 time and batch^2 memory. Differentiates in reverse mode alone, as often as wanted.

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch].
      temperature: width of the steps, positive; the lower, the nearer to average precision.
      num_anchors: how many first rows are anchors; None: all.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row as an anchor; None: 1.
      reduce_fn: reduces one value for each anchor with a positive, see `reductions`.

    Returns:
      Scalar from 0 to 1.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a temperature that is not positive.

    Example:
      >>> embeddings = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.5, 1.0], [-1.0, 1.0]])
      >>> round(float(smooth_ap_loss(embeddings, jnp.array([0, 0, 1, 1]), temperature=0.1)), 4)
      0.575

    Source: Brown et al., Smooth-AP, ECCV 2020; the anchor is not in its own list.
    """
    check_positive(temperature=temperature)
    embeddings, positives, negatives, weights = labelled_pairs(
        embeddings, labels, where, weights, num_anchors
    )
    scores = cosines(embeddings[:num_anchors], embeddings) / temperature
    sums = map_rows(_reversible_precision, (scores, positives, negatives), len(embeddings))
    values = 1 - sums / jnp.maximum(positives.sum(1), 1)
    return apply_reduction(reduce_fn, values, positives.any(1), weights)


@on_any_mesh
def fast_ap_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    num_bins: int = 10,
    num_anchors: int | None = None,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """One minus average precision of a histogram, whose bins an embedding enters by degrees.

    1 - sum over bins b of h_p(b) H_p(b) / H(b) / positives, h_p: the anchor's positives by squared
    distance, H_p and H: of positives, and of all, up to the bin; mean over anchors with a positive

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch].
      num_bins: of the squared distances from 0 to 4, at least 1; each overlaps the next one.
      num_anchors: how many first rows are anchors; None: all.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row as an anchor; None: 1.
      reduce_fn: reduces one value for each anchor with a positive, see `reductions`.

    Returns:
      Scalar from 0 to 1.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a number of bins that is not whole.

    Example:
      >>> embeddings = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
      >>> round(float(fast_ap_loss(embeddings, jnp.array([0, 0, 1, 1]))), 4)
      0.25

    Source: Cakir et al., Deep metric learning to rank, CVPR 2019.
    """
    check_whole("num_bins", num_bins, 1)
    embeddings, positives, negatives, weights = labelled_pairs(
        embeddings, labels, where, weights, num_anchors
    )
    squares = squared_distances(normalize(embeddings), num_anchors=num_anchors)

    def histograms(bin_: jax.Array) -> tuple[jax.Array, jax.Array]:
        inside = jax.nn.relu(1 - jnp.abs(squares * num_bins / 4 - bin_))
        return jnp.where(positives, inside, 0).sum(1), jnp.where(negatives, inside, 0).sum(1)

    # One bin after the other, in the memory of one matrix.
    of_positives, of_negatives = jax.lax.map(jax.checkpoint(histograms), jnp.arange(num_bins + 1.0))
    up_to = of_positives.cumsum(0)
    shares = safe_divide(of_positives * up_to, up_to + of_negatives.cumsum(0))
    values = 1 - shares.sum(0) / jnp.maximum(positives.sum(1), 1)
    return apply_reduction(reduce_fn, values, positives.any(1), weights)


def _summed_precision(anchor: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
    """Smooth precision at the places of an anchor's positives, summed.

    Args:
      anchor: scores, positives and negatives [batch].

    Returns:
      Scalar.
    """
    scores, positive, negative = anchor
    itself = jnp.eye(len(scores), dtype=bool)
    steps = jnp.where(itself, 1, jax.nn.sigmoid(scores[None, :] - scores[:, None]))
    among_positives = jnp.where(positive[None, :], steps, 0).sum(1)
    among_negatives = jnp.where(negative[None, :], steps, 0).sum(1)
    # Rows that are not positives have no rank among positives: 1 keeps the quotient finite.
    among_positives = jnp.where(positive, among_positives, 1)
    return jnp.where(positive, among_positives / (among_positives + among_negatives), 0).sum()


def _summed_precision_forward(anchor):
    """The gradient goes along: to find it later would take the batch x batch steps again."""
    value, gradient = jax.value_and_grad(_summed_precision, allow_int=True)(anchor)
    return value, gradient[0]


def _summed_precision_backward(of_scores, cotangent):
    return ((cotangent * of_scores, None, None),)


_reversible_precision = jax.custom_vjp(_summed_precision)
_reversible_precision.defvjp(_summed_precision_forward, _summed_precision_backward)
