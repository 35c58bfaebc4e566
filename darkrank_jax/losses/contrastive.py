"""Losses on pairs: an anchor's positives against its negatives."""

import jax
import jax.numpy as jnp

from darkrank_jax.losses.internals.checks import check_flags, check_positive, check_range
from darkrank_jax.losses.internals.devices import on_any_mesh
from darkrank_jax.losses.masks import ABSENT_LOGIT, labelled_pairs, masked_logsumexp
from darkrank_jax.losses.miners import mined_pairs, multi_similarity_pairs
from darkrank_jax.losses.pairwise import cosines, distances, inner_products, nan_if, normalize
from darkrank_jax.losses.reductions import ReduceFn, apply_reduction, mean, mean_nonzero


@on_any_mesh
def contrastive_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    pos_margin: float = 0.0,
    neg_margin: float = 1.0,
    normalize_embeddings: bool = True,
    mining: str = "all",
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
      mining: "all" pairs, "hard" or "multi_similarity", see `miners.mined_pairs`.
      num_anchors: how many first rows are anchors; None: all.
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
    positives, negatives = mined_pairs(mining, embeddings, positives, negatives)
    check_flags(normalize_embeddings=normalize_embeddings)
    embeddings = normalize(embeddings) if normalize_embeddings else embeddings
    lengths = distances(embeddings, num_anchors=num_anchors)
    pull, push = jax.nn.relu(lengths - pos_margin), jax.nn.relu(neg_margin - lengths)
    return apply_reduction(reduce_fn, pull, positives, weights) + apply_reduction(
        reduce_fn, push, negatives, weights
    )


@on_any_mesh
def ntxent_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    temperature: float = 0.1,
    mining: str = "all",
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
      mining: "all" pairs, "hard" or "multi_similarity", see `miners.mined_pairs`.
      num_anchors: how many first rows are anchors; None: all.
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
    positives, negatives = mined_pairs(mining, embeddings, positives, negatives)
    logits = cosines(embeddings[:num_anchors], embeddings) / temperature
    return apply_reduction(reduce_fn, _against_negatives(logits, negatives), positives, weights)


@on_any_mesh
def supcon_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    temperature: float = 0.1,
    mining: str = "all",
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
      mining: "all" pairs, "hard" or "multi_similarity", see `miners.mined_pairs`.
      num_anchors: how many first rows are anchors; None: all.
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
    positives, negatives = mined_pairs(mining, embeddings, positives, negatives)
    logits = cosines(embeddings[:num_anchors], embeddings) / temperature
    log_shares = jax.nn.log_softmax(jnp.where(positives | negatives, logits, ABSENT_LOGIT))
    values = -jnp.where(positives, log_shares, 0).sum(1) / jnp.maximum(positives.sum(1), 1)
    return apply_reduction(reduce_fn, values, positives.any(1), weights)


@on_any_mesh
def n_pairs_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    l2_weight: float = 0.0,
    mining: str = "all",
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
      mining: "all" pairs, "hard" or "multi_similarity", see `miners.mined_pairs`.
      num_anchors: how many first rows are anchors; None: all.
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
    positives, negatives = mined_pairs(mining, embeddings, positives, negatives)
    logits = inner_products(embeddings[:num_anchors], embeddings)
    pairs = apply_reduction(reduce_fn, _against_negatives(logits, negatives), positives, weights)
    # The length of an anchor takes its pair with itself, which is not a positive.
    lengths = jnp.square(embeddings[:num_anchors]).sum(1)[:, None] + jnp.zeros_like(logits)
    itself = jnp.eye(*logits.shape, dtype=bool) & _anchors(where, logits)[:, None]
    return pairs + l2_weight * apply_reduction(reduce_fn, lengths, itself, weights)


@on_any_mesh
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
      num_anchors: how many first rows are anchors; None: all.
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


@on_any_mesh
def circle_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    margin: float = 0.4,
    scale: float = 80.0,
    mining: str = "all",
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
      mining: "all" pairs, "hard" or "multi_similarity", see `miners.mined_pairs`.
      num_anchors: how many first rows are anchors; None: all.
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
    positives, negatives = mined_pairs(mining, embeddings, positives, negatives)
    similarities = cosines(embeddings[:num_anchors], embeddings)
    fixed = jax.lax.stop_gradient(similarities)
    pull = -scale * jax.nn.relu(1 + margin - fixed) * (similarities - 1 + margin)
    push = scale * jax.nn.relu(fixed + margin) * (similarities - margin)
    values = jax.nn.softplus(masked_logsumexp(pull, positives) + masked_logsumexp(push, negatives))
    return apply_reduction(reduce_fn, values, positives.any(1) & negatives.any(1), weights)


def _anchors(where: jax.Array | None, matrix: jax.Array) -> jax.Array:
    """The anchors that count, of a matrix [anchors, batch]."""
    anchors = matrix.shape[0]
    return jnp.ones([anchors], bool) if where is None else where[:anchors]


def _log1p_sum(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """log(1 + sum of exp(logits) in the mask), along the last axis."""
    return jax.nn.softplus(masked_logsumexp(logits, mask))


def _against_negatives(logits: jax.Array, negatives: jax.Array) -> jax.Array:
    """log(1 + sum_n exp(l_n - l_p)) for every row as p."""
    return jax.nn.softplus(masked_logsumexp(logits, negatives)[:, None] - logits)
