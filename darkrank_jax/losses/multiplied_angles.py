"""Embeddings against class weights, with a margin that multiplies the angle to the own class.

Class weights are [dim, classes]: column c is the weight vector of class c.
"""

import math

import jax
import jax.numpy as jnp

from darkrank_jax.losses.classification import (
    angle_of,
    class_cosines,
    class_inputs,
    cross_entropy,
    own_logits,
)
from darkrank_jax.losses.internals.checks import check_positive, check_whole
from darkrank_jax.losses.internals.devices import on_any_mesh
from darkrank_jax.losses.pairwise import safe_sqrt, upcast
from darkrank_jax.losses.reductions import ReduceFn, mean


@on_any_mesh
def large_margin_softmax_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    class_weights: jax.Array,
    *,
    margin: int = 4,
    scale: float = 1.0,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Large-margin softmax: the angle to the own class must stay small even `margin` times.

    Cross-entropy where the own logit |w||x| cos(a) is |w||x| psi(a),
    psi(a) = (-1)^k cos(margin a) - 2 k for a in [k pi / margin, (k + 1) pi / margin]

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch], from 0 to classes - 1; with others the loss is NaN.
      class_weights: [dim, classes], floating.
      margin: whole number, at least 1; 1 is the softmax loss.
      scale: factor of all logits, positive.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row; None: 1.
      reduce_fn: reduces one value for each row, see `reductions`.

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a margin that is not a whole number from 1, a scale that is
        not positive.

    Example:
      >>> weights = jnp.array([[1.0, 0.0], [0.0, 3.0]])
      >>> embeddings, labels = jnp.array([[1.0, 0.5]]), jnp.array([1])
      >>> round(float(large_margin_softmax_loss(embeddings, labels, weights, margin=2)), 4)
      3.0605

    Source: Liu et al., Large-margin softmax loss, ICML 2016; no annealing.
    """
    check_positive(scale=scale)
    check_whole("margin", margin, 1)
    embeddings, target, valid = class_inputs(embeddings, labels, class_weights, where, weights)
    cosine = class_cosines(embeddings, class_weights)
    lengths = _norms(embeddings, 1) * _norms(upcast(class_weights), 0)
    logits = scale * lengths * _multiplied(cosine, target, margin)
    return cross_entropy(logits, target, valid, weights, reduce_fn)


@on_any_mesh
def sphereface_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    class_weights: jax.Array,
    *,
    margin: int = 4,
    scale: float = 1.0,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """SphereFace: large-margin softmax with class weights of length 1.

    Cross-entropy of |x| cos(a_c), with |x| psi(a) for the own class,
    psi(a) = (-1)^k cos(margin a) - 2 k for a in [k pi / margin, (k + 1) pi / margin]

    Args:
      embeddings: [batch, dim], floating; their lengths scale the logits.
      labels: integer [batch], from 0 to classes - 1; with others the loss is NaN.
      class_weights: [dim, classes], floating.
      margin: whole number, at least 1; 1 adds no margin.
      scale: factor of all logits, positive.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row; None: 1.
      reduce_fn: reduces one value for each row, see `reductions`.

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a margin that is not a whole number from 1, a scale that is
        not positive.

    Example:
      >>> weights = jnp.array([[1.0, 0.0], [0.0, 3.0]])
      >>> embeddings, labels = jnp.array([[1.0, 0.5]]), jnp.array([1])
      >>> round(float(sphereface_loss(embeddings, labels, weights, margin=2)), 4)
      1.8432

    Source: Liu et al., SphereFace, CVPR 2017; no annealing.
    """
    check_positive(scale=scale)
    check_whole("margin", margin, 1)
    embeddings, target, valid = class_inputs(embeddings, labels, class_weights, where, weights)
    cosine = class_cosines(embeddings, class_weights)
    logits = scale * _norms(embeddings, 1) * _multiplied(cosine, target, margin)
    return cross_entropy(logits, target, valid, weights, reduce_fn)


def _multiplied(cosine: jax.Array, target: jax.Array, margin: int) -> jax.Array:
    """Cosines, with psi of the multiplied angle for the own class."""
    angle = angle_of(own_logits(cosine, target))
    part = jax.lax.stop_gradient(jnp.floor(angle * margin / math.pi))
    psi = (1 - 2 * (part % 2)) * jnp.cos(margin * angle) - 2 * part
    return jnp.where(target, psi, cosine)


def _norms(vectors: jax.Array, axis: int) -> jax.Array:
    """L2 norms."""
    return safe_sqrt(jnp.square(vectors).sum(axis, keepdims=True))
