"""Losses of a positive pair against all negatives of it at once."""

import math

import jax
import jax.numpy as jnp

from darkrank_jax.losses.classification import angle_of
from darkrank_jax.losses.internals.checks import check_flags, check_positive, check_range
from darkrank_jax.losses.internals.devices import on_any_mesh
from darkrank_jax.losses.masks import (
    ABSENT_LOGIT,
    label_masks,
    labelled_pairs,
    masked_logsumexp,
    valid_rows,
)
from darkrank_jax.losses.miners import mined_pairs
from darkrank_jax.losses.pairwise import cosines, distances, inner_products, nan_if, normalize
from darkrank_jax.losses.reductions import ReduceFn, apply_reduction, mean


@on_any_mesh
def lifted_structure_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    pos_margin: float = 0.0,
    neg_margin: float = 1.0,
    normalize_embeddings: bool = True,
    num_anchors: int | None = None,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Lifted structured loss: a positive pair against the negatives of both of its rows.

    max(0, log sum_n [exp(neg_margin - d_an) + exp(neg_margin - d_pn)] + d_ap - pos_margin)^2 / 2,
    mean over positive pairs

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch].
      pos_margin: positives nearer than this are near enough.
      neg_margin: negatives farther than this are far enough.
      normalize_embeddings: L2-normalise first.
      num_anchors: how many first rows are anchors; None: all.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row as an anchor; None: 1.
      reduce_fn: reduces one value for each positive pair, see `reductions`; None:
        [anchors, batch].

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a number out of range.

    Example:
      >>> embeddings = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
      >>> labels = jnp.array([0, 0, 1, 1])
      >>> round(float(lifted_structure_loss(embeddings, labels)), 4)
      1.7462

    Source: Song et al., Deep metric learning via lifted structured feature embedding, CVPR 2016.
    """
    check_flags(normalize_embeddings=normalize_embeddings)
    embeddings, positives, _, weights = labelled_pairs(
        embeddings, labels, where, weights, num_anchors
    )
    embeddings = normalize(embeddings) if normalize_embeddings else embeddings
    lengths = distances(embeddings)
    # A positive has negatives of its own, also where it is not an anchor.
    _, apart = label_masks(labels, valid_rows(len(embeddings), where))
    of_row = masked_logsumexp(neg_margin - lengths, apart)
    push = jnp.logaddexp(of_row[:num_anchors, None], of_row[None, :])
    values = jnp.square(jax.nn.relu(push + lengths[:num_anchors] - pos_margin)) / 2
    return nan_if(jnp.isnan(lengths), apply_reduction(reduce_fn, values, positives, weights))


@on_any_mesh
def angular_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    angle: float = math.radians(40),
    num_anchors: int | None = None,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Angular loss: the angle at a negative, opposite a positive pair, must be small.

    log(1 + sum_n exp(4 u <a + p, n> - 2 (1 + u) <a, p>)), u = tan(angle)^2, L2-normalised,
    mean over positive pairs

    Costs batch^3 work in one matrix product, and batch^2 memory.

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch].
      angle: in radians, above 0 and up to 1.05 (60 degrees); the paper's alpha.
      num_anchors: how many first rows are anchors; None: all.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row as an anchor; None: 1.
      reduce_fn: reduces one value for each positive pair, see `reductions`; None:
        [anchors, batch].

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a number out of range.

    Example:
      >>> embeddings = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
      >>> labels = jnp.array([0, 0, 1, 1])
      >>> round(float(angular_loss(embeddings, labels)), 4)
      0.513

    Source: Wang et al., Deep metric learning with angular loss, ICCV 2017.
    """
    check_positive(angle=angle)
    check_range("angle", angle, 0, 1.05)
    embeddings, positives, negatives, weights = labelled_pairs(
        embeddings, labels, where, weights, num_anchors
    )
    embeddings = normalize(embeddings)
    squared_tangent = jnp.tan(angle) ** 2
    products = inner_products(embeddings, embeddings)
    # exp(4 t <a + p, n>) is a product of two factors, each at most 1 once exp(4 t) is taken out;
    # up to 60 degrees none of them is below exp(-25).
    factors = jnp.exp(4 * squared_tangent * (products - 1))
    sums = inner_products(jnp.where(negatives, factors[:num_anchors], 0), factors)
    some = sums > 0
    pushes = jnp.where(some, jnp.log(jnp.where(some, sums, 1)) + 8 * squared_tangent, ABSENT_LOGIT)
    values = jax.nn.softplus(pushes - 2 * (1 + squared_tangent) * products[:num_anchors])
    return nan_if(jnp.isnan(products), apply_reduction(reduce_fn, values, positives, weights))


@on_any_mesh
def tuplet_margin_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    margin: float = 0.1,
    scale: float = 64.0,
    mining: str = "all",
    num_anchors: int | None = None,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Tuplet margin loss: the angle of a positive pair against all negatives of its anchor.

    log(1 + sum_n exp(scale (cos(a_n) - cos(a_p - margin)))), mean over positive pairs

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch].
      margin: in radians, from 0 to pi: how far apart positives may be for free; the paper's beta.
      scale: factor of all cosines, positive.
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
      ValueError: shapes that disagree, a number out of range.

    Example:
      >>> embeddings = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
      >>> labels = jnp.array([0, 0, 1, 1])
      >>> round(float(tuplet_margin_loss(embeddings, labels, scale=4.0)), 4)
      0.32

    Source: Yu and Tao, Deep metric learning with tuplet margin loss, ICCV 2019, without the loss of
    variance within a class.
    """
    check_positive(scale=scale)
    check_range("margin", margin, 0, math.pi)
    embeddings, positives, negatives, weights = labelled_pairs(
        embeddings, labels, where, weights, num_anchors
    )
    positives, negatives = mined_pairs(mining, embeddings, positives, negatives)
    similarities = cosines(embeddings[:num_anchors], embeddings)
    pull = jnp.cos(angle_of(similarities) - margin)
    push = masked_logsumexp(scale * similarities, negatives)
    values = jax.nn.softplus(push[:, None] - scale * pull)
    return apply_reduction(reduce_fn, values, positives, weights)
