"""Embeddings against one learnt proxy a class.

Proxies are class weights [dim, classes]: column c is the proxy of class c.
"""

import jax
import jax.numpy as jnp

from darkrank_jax.losses.classification import (
    class_cosines,
    class_inputs,
    cross_entropy,
    unknown_labels,
)
from darkrank_jax.losses.internals.checks import check_positive
from darkrank_jax.losses.internals.devices import on_any_mesh
from darkrank_jax.losses.masks import masked_logsumexp
from darkrank_jax.losses.pairwise import nan_if, upcast
from darkrank_jax.losses.reductions import ReduceFn, apply_reduction, mean


@on_any_mesh
def proxy_anchor_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    class_weights: jax.Array,
    *,
    margin: float = 0.1,
    scale: float = 32.0,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Proxy-anchor: every proxy pulls the batch's images of its class and pushes the others.

    mean over proxies with a positive of log(1 + sum_p exp(-scale (s - margin)))
    + mean over all proxies of log(1 + sum_n exp(scale (s + margin))), s cosine

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch], from 0 to classes - 1; with others the loss is NaN.
      class_weights: [dim, classes], floating, the proxies as columns.
      margin: of the cosine.
      scale: factor of all cosines, positive; the paper's alpha.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, how often each row counts in the sums; None: 1.
      reduce_fn: reduces the pull and the push of the proxies, one value for each class, see
        `reductions`.

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a number out of range.

    Example:
      >>> proxies = jnp.array([[1.0, 0.0], [0.0, 3.0]])
      >>> embeddings, labels = jnp.array([[1.0, 0.5]]), jnp.array([1])
      >>> round(float(proxy_anchor_loss(embeddings, labels, proxies, scale=4.0)), 4)
      2.2208

    Source: Kim et al., Proxy anchor loss, CVPR 2020.
    """
    check_positive(scale=scale)
    embeddings, target, valid = class_inputs(embeddings, labels, class_weights, where, weights)
    cosine = class_cosines(embeddings, class_weights)
    rows = valid[:, None] if weights is None else (valid & (weights > 0))[:, None]
    positives, negatives = target & rows, ~target & rows
    pull = _log1p_sums(-scale * (cosine - margin), positives, weights)
    push = _log1p_sums(scale * (cosine + margin), negatives, weights)
    some = jnp.broadcast_to(rows.any(), push.shape)
    loss = apply_reduction(reduce_fn, pull, positives.any(0))
    loss += apply_reduction(reduce_fn, push, some)
    return nan_if(unknown_labels(target, valid), loss)


@on_any_mesh
def proxy_nca_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    class_weights: jax.Array,
    *,
    scale: float = 1.0,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Proxy-NCA: the own proxy must be the nearest.

    -log softmax(-scale ||x - proxy_c||^2)[label] of L2-normalised vectors, mean over the batch

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch], from 0 to classes - 1; with others the loss is NaN.
      class_weights: [dim, classes], floating, the proxies as columns.
      scale: factor of all squared distances, positive.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row; None: 1.
      reduce_fn: reduces one value for each row, see `reductions`.

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a number out of range.

    Example:
      >>> proxies = jnp.array([[1.0, 0.0], [0.0, 3.0]])
      >>> embeddings, labels = jnp.array([[1.0, 0.5]]), jnp.array([1])
      >>> round(float(proxy_nca_loss(embeddings, labels, proxies, scale=2.0)), 4)
      1.9434

    Source: Movshovitz-Attias et al., No fuss distance metric learning using proxies, ICCV
    2017; the own proxy is in the sum, as in common code.
    """
    check_positive(scale=scale)
    embeddings, target, valid = class_inputs(embeddings, labels, class_weights, where, weights)
    # |x - p|^2 = 2 - 2 cos for unit vectors; the 2 cancels in the softmax.
    logits = 2 * scale * class_cosines(embeddings, class_weights)
    return cross_entropy(logits, target, valid, weights, reduce_fn)


def _log1p_sums(logits: jax.Array, mask: jax.Array, weights: jax.Array | None) -> jax.Array:
    """log(1 + sum of weight exp(logit) in the mask) over the batch."""
    if weights is not None:
        # The weight of what is not in the mask may be 0, whose logarithm is not finite.
        known = jnp.where(mask, upcast(weights).astype(logits.dtype)[:, None], 1)
        logits = logits + jnp.log(known)
    return jax.nn.softplus(masked_logsumexp(logits, mask, axis=0))
