"""Losses on pairs of embeddings of the same class and of other classes."""

import jax
import jax.numpy as jnp

from darkrank_jax.losses.checks import check_arrays, check_flags, check_positive, check_range
from darkrank_jax.losses.masks import labelled_pairs
from darkrank_jax.losses.miners import multi_similarity_pairs
from darkrank_jax.losses.pairwise import (
    cosines,
    distances,
    inner_products,
    nan_if,
    normalize,
)
from darkrank_jax.losses.reductions import ReduceFn, apply_reduction, mean, mean_nonzero
from darkrank_jax.losses.tiles import map_rows

# Logit of what does not take part: its exponential is 0, and no difference of it is NaN.
_ABSENT = -1e30


def contrastive_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    pos_margin: float = 0.0,
    neg_margin: float = 1.0,
    normalize_embeddings: bool = True,
    num_anchors: int | None = None,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean_nonzero,
) -> jax.Array:
    """Contrastive loss, also called verification loss.

    max(0, d_ap - pos_margin) + max(0, neg_margin - d_an), each a mean over its terms above 0

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch].
      pos_margin: positives nearer than this are near enough.
      neg_margin: negatives farther than this are far enough.
      normalize_embeddings: L2-normalise first.
      num_anchors: only so many first rows are anchors; None: all.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row as an anchor; None: 1.
      reduce_fn: reduces the values of the positive and of the negative pairs, each by itself, see
        `reductions`; None: [anchors, batch], one for each pair.

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree.

    Example:
      >>> embeddings = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
      >>> round(float(contrastive_loss(embeddings, jnp.array([0, 0, 1, 1]), neg_margin=1.5)), 4)
      1.0674

    Source: Hadsell, Chopra, LeCun, Dimensionality reduction by learning an invariant mapping, CVPR
    2006, without squares and with a margin for positives.
    """
    embeddings, positives, negatives, weights = labelled_pairs(
        embeddings, labels, where, weights, num_anchors
    )
    check_flags(normalize_embeddings=normalize_embeddings)
    lengths = _distances(embeddings, num_anchors, normalize_embeddings)
    pull, push = jax.nn.relu(lengths - pos_margin), jax.nn.relu(neg_margin - lengths)
    return apply_reduction(reduce_fn, pull, positives, weights) + apply_reduction(
        reduce_fn, push, negatives, weights
    )


def margin_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    margin: float = 0.2,
    beta: float | jax.Array = 1.2,
    normalize_embeddings: bool = True,
    num_anchors: int | None = None,
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
      beta: the boundary, as an array to be learnt; a scalar, or [batch], that of each anchor, such
        as `betas[labels]` for one a class.
      normalize_embeddings: L2-normalise first.
      num_anchors: only so many first rows are anchors; None: all.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row as an anchor; None: 1.
      reduce_fn: reduces one value for each pair, times its triplets, see `reductions`; None:
        [anchors, batch].

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree.

    Example:
      >>> embeddings = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
      >>> round(float(margin_loss(embeddings, jnp.array([0, 0, 1, 1]), beta=1.0)), 4)
      0.4346

    Source: Wu et al., Sampling matters in deep embedding learning, ICCV 2017.
    """
    embeddings, positives, negatives, weights = labelled_pairs(
        embeddings, labels, where, weights, num_anchors
    )
    if jnp.ndim(beta):
        check_arrays(embeddings=(embeddings, "float", "batch dim"), beta=(beta, "real", "batch"))
        beta = jnp.asarray(beta)[:num_anchors, None]
    check_flags(normalize_embeddings=normalize_embeddings)
    lengths = _distances(embeddings, num_anchors, normalize_embeddings)
    # A pair stands in as many triplets as its anchor has partners on the other side.
    partners = (mask.sum(1, keepdims=True) for mask in (negatives, positives))
    times = jnp.where(positives, *partners)
    values = jax.nn.relu(jnp.where(positives, lengths - beta, beta - lengths) + margin)
    times_weights = times if weights is None else times * weights[:, None]
    return apply_reduction(
        reduce_fn, values, (positives | negatives) & (times > 0), times_weights.astype(values.dtype)
    )


def multi_similarity_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    alpha: float = 2.0,
    beta: float = 50.0,
    base: float = 0.5,
    epsilon: float | None = None,
    num_anchors: int | None = None,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Multi-similarity loss.

    log(1 + sum_p exp(-alpha (s_ap - base))) / alpha
    + log(1 + sum_n exp(beta (s_an - base))) / beta, s cosine, mean over anchors

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch].
      alpha: sharpness for positives, positive.
      beta: sharpness for negatives, positive.
      base: the cosine that parts positives from negatives.
      epsilon: slack of the mining of pairs, see `miners.multi_similarity_pairs`; the paper has
        0.1; not negative; None: all pairs.
      num_anchors: only so many first rows are anchors; None: all.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row as an anchor; None: 1.
      reduce_fn: reduces one value for each anchor, see `reductions`.

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a number out of range.

    Example:
      >>> embeddings = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
      >>> round(float(multi_similarity_loss(embeddings, jnp.array([0, 0, 1, 1]))), 4)
      0.3572

    Source: Wang et al., Multi-similarity loss, CVPR 2019.
    """
    check_positive(alpha=alpha, beta=beta)
    check_range("epsilon", 0 if epsilon is None else epsilon, 0)
    embeddings, positives, negatives, weights = labelled_pairs(
        embeddings, labels, where, weights, num_anchors
    )
    similarities = cosines(embeddings[:num_anchors], embeddings)
    anchors = _anchors(where, similarities)
    if epsilon is not None:
        mined = jax.lax.stop_gradient(similarities)
        positives, negatives = multi_similarity_pairs(mined, positives, negatives, epsilon=epsilon)
    pull = _log1p_sum(-alpha * (similarities - base), positives) / alpha
    push = _log1p_sum(beta * (similarities - base), negatives) / beta
    return nan_if(
        jnp.isnan(similarities), apply_reduction(reduce_fn, pull + push, anchors, weights)
    )


def ntxent_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    temperature: float = 0.1,
    num_anchors: int | None = None,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Normalised temperature-scaled cross-entropy (InfoNCE, SimCLR): each positive pair by itself.

    log(1 + sum_n exp((s_an - s_ap) / temperature)), s cosine, mean over positive pairs

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch]; two views of an image share one.
      temperature: positive; the lower, the more the nearest negatives count.
      num_anchors: only so many first rows are anchors; None: all.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row as an anchor; None: 1.
      reduce_fn: reduces one value for each positive pair, see `reductions`; None:
        [anchors, batch].

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a temperature that is not positive.

    Example:
      >>> embeddings = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
      >>> round(float(ntxent_loss(embeddings, jnp.array([0, 0, 1, 1]), temperature=0.5)), 4)
      0.536

    Source: Sohn, NIPS 2016; Chen et al., SimCLR, ICML 2020, where negatives are the rows of
    all other labels.
    """
    check_positive(temperature=temperature)
    embeddings, positives, negatives, weights = labelled_pairs(
        embeddings, labels, where, weights, num_anchors
    )
    logits = cosines(embeddings[:num_anchors], embeddings) / temperature
    return apply_reduction(reduce_fn, _against_negatives(logits, negatives), positives, weights)


def supcon_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    temperature: float = 0.1,
    num_anchors: int | None = None,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Supervised contrastive loss: all positives of an anchor against all other rows.

    mean over p of [log sum_{a != anchor} exp(s_a / temperature) - s_p / temperature], s cosine,
    mean over anchors with a positive

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch].
      temperature: positive; the lower, the more the nearest rows count.
      num_anchors: only so many first rows are anchors; None: all.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row as an anchor; None: 1.
      reduce_fn: reduces one value for each anchor, see `reductions`.

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a temperature that is not positive.

    Example:
      >>> embeddings = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
      >>> round(float(supcon_loss(embeddings, jnp.array([0, 0, 1, 1]), temperature=0.5)), 4)
      0.536

    Source: Khosla et al., Supervised contrastive learning, NeurIPS 2020.
    """
    check_positive(temperature=temperature)
    embeddings, positives, negatives, weights = labelled_pairs(
        embeddings, labels, where, weights, num_anchors
    )
    logits = cosines(embeddings[:num_anchors], embeddings) / temperature
    log_shares = jax.nn.log_softmax(jnp.where(positives | negatives, logits, _ABSENT))
    values = -jnp.where(positives, log_shares, 0).sum(1) / jnp.maximum(positives.sum(1), 1)
    return apply_reduction(reduce_fn, values, positives.any(1), weights)


def circle_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    margin: float = 0.4,
    scale: float = 80.0,
    num_anchors: int | None = None,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Circle loss: pairs far from their optimum weigh more.

    log(1 + sum_n exp(scale [s_an + margin]+ (s_an - margin))
    * sum_p exp(-scale [1 + margin - s_ap]+ (s_ap - 1 + margin))),
    s cosine, no gradient through [.]+, mean over anchors with a positive and a negative

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch].
      margin: from 0 to 1: negatives should be below it, positives above 1 - margin; the paper's m.
      scale: factor of all logits, positive; the paper's gamma.
      num_anchors: only so many first rows are anchors; None: all.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row as an anchor; None: 1.
      reduce_fn: reduces one value for each anchor, see `reductions`.

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a number out of range.

    Example:
      >>> embeddings = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
      >>> round(float(circle_loss(embeddings, jnp.array([0, 0, 1, 1]), margin=0.25, scale=8.0)), 4)
      2.4028

    Source: Sun et al., Circle loss, CVPR 2020.
    """
    check_positive(scale=scale)
    check_range("margin", margin, 0, 1)
    embeddings, positives, negatives, weights = labelled_pairs(
        embeddings, labels, where, weights, num_anchors
    )
    similarities = cosines(embeddings[:num_anchors], embeddings)
    fixed = jax.lax.stop_gradient(similarities)
    pull = -scale * jax.nn.relu(1 + margin - fixed) * (similarities - 1 + margin)
    push = scale * jax.nn.relu(fixed + margin) * (similarities - margin)
    values = jax.nn.softplus(_log_sum(pull, positives) + _log_sum(push, negatives))
    return apply_reduction(reduce_fn, values, positives.any(1) & negatives.any(1), weights)


def n_pairs_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    l2_weight: float = 0.0,
    num_anchors: int | None = None,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """N-pairs loss: each positive pair against all negatives, by inner products.

    log(1 + sum_n exp(<a, n> - <a, p>)), mean over positive pairs, + l2_weight mean of ||x||^2

    Args:
      embeddings: [batch, dim], floating, used as given.
      labels: integer [batch].
      l2_weight: weight of the squared length of the embeddings, which nothing else bounds.
      num_anchors: only so many first rows are anchors; None: all.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row as an anchor; None: 1.
      reduce_fn: reduces one value for each positive pair, and the squared lengths of the anchors,
        see `reductions`; None: [anchors, batch], the lengths at the anchor's pair with itself.

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree.

    Example:
      >>> embeddings = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
      >>> round(float(n_pairs_loss(embeddings, jnp.array([0, 0, 1, 1]), l2_weight=0.1)), 4)
      0.7848

    Source: Sohn, Improved deep metric learning with multi-class n-pair loss objective, NIPS
    2016, for any number of images in a class: all rows of other classes are negatives.
    """
    embeddings, positives, negatives, weights = labelled_pairs(
        embeddings, labels, where, weights, num_anchors
    )
    logits = inner_products(embeddings[:num_anchors], embeddings)
    pairs = apply_reduction(reduce_fn, _against_negatives(logits, negatives), positives, weights)
    # The length of an anchor takes its pair with itself, which is no positive.
    lengths = jnp.square(embeddings[:num_anchors]).sum(1)[:, None] + jnp.zeros_like(logits)
    itself = jnp.eye(*logits.shape, dtype=bool) & _anchors(where, logits)[:, None]
    return pairs + l2_weight * apply_reduction(reduce_fn, lengths, itself, weights)


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
      num_anchors: only so many first rows are anchors; None: all.
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
    # Rows that are no positive have no rank among positives: 1 keeps the quotient finite.
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


def _distances(embeddings: jax.Array, num_anchors: int | None, unit: bool) -> jax.Array:
    """Distances [anchors, batch], of unit vectors if so wanted."""
    embeddings = normalize(embeddings) if unit else embeddings
    return distances(embeddings, num_anchors=num_anchors)


def _anchors(where: jax.Array | None, matrix: jax.Array) -> jax.Array:
    """The anchors that count, of a matrix [anchors, batch]."""
    anchors = matrix.shape[0]
    return jnp.ones([anchors], bool) if where is None else where[:anchors]


def _log_sum(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """Logsumexp of the logits in the mask, along the last axis."""
    return jax.nn.logsumexp(jnp.where(mask, logits, _ABSENT), axis=-1)


def _log1p_sum(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """log(1 + sum of exp(logits) in the mask), along the last axis."""
    return jax.nn.softplus(_log_sum(logits, mask))


def _against_negatives(logits: jax.Array, negatives: jax.Array) -> jax.Array:
    """log(1 + sum_n exp(l_n - l_p)) for every row as p."""
    return jax.nn.softplus(_log_sum(logits, negatives)[:, None] - logits)
