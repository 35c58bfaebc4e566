"""Embeddings against several weight vectors a class: centers of its subclasses.

Class weights are [dim, classes * centers]: columns c * centers to (c + 1) * centers - 1 are the
centers of class c.
"""

import math

import jax

from darkrank_jax.losses.classification import (
    class_cosines,
    class_inputs,
    cross_entropy,
    with_angular_margin,
)
from darkrank_jax.losses.internals.checks import check_positive, check_range
from darkrank_jax.losses.internals.devices import on_any_mesh
from darkrank_jax.losses.reductions import ReduceFn, mean


@on_any_mesh
def sub_center_arcface_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    class_weights: jax.Array,
    *,
    centers: int = 3,
    margin: float = 0.5,
    scale: float = 64.0,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """ArcFace with several centers a class, of which the nearest one counts.

    Cross-entropy of scale cos(a_c), a_c the angle to the nearest center of class c, with
    cos(a + margin) for the own class

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch], from 0 to classes - 1; with others the loss is NaN.
      class_weights: [dim, classes * centers], floating; the centers of a class follow each other.
      centers: of each class, at least 1; with 1 it is ArcFace.
      margin: in radians, from 0 to pi; the paper's m.
      scale: factor of all cosines, positive.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row; None: 1.
      reduce_fn: reduces one value for each row, see `reductions`.

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a number out of range.

    Example:
      >>> import jax.numpy as jnp
      >>> weights = jnp.array([[1.0, 0.0, -1.0, 1.0], [0.0, 3.0, 0.5, 1.0]])
      >>> embeddings, labels = jnp.array([[1.0, 0.5]]), jnp.array([0])
      >>> loss = sub_center_arcface_loss(embeddings, labels, weights, centers=2, scale=4.0)
      >>> round(float(loss), 4)
      1.7117

    Source: Deng et al., Sub-center ArcFace, ECCV 2020. Beyond pi as `arcface_loss`.
    """
    check_positive(scale=scale)
    check_range("margin", margin, 0, math.pi)
    embeddings, target, valid = class_inputs(
        embeddings, labels, class_weights, where, weights, centers
    )
    cosine = _by_center(embeddings, class_weights, centers).max(-1)
    logits = scale * with_angular_margin(cosine, target, margin)
    return cross_entropy(logits, target, valid, weights, reduce_fn)


@on_any_mesh
def soft_triple_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    class_weights: jax.Array,
    *,
    centers: int = 10,
    margin: float = 0.01,
    scale: float = 20.0,
    temperature: float = 0.1,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """SoftTriple: several centers a class, each weighted by how near it is.

    Cross-entropy of scale S_c, with S_c - margin for the own class,
    S_c = sum_k softmax_k(cos(x, w_ck) / temperature) cos(x, w_ck)

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch], from 0 to classes - 1; with others the loss is NaN.
      class_weights: [dim, classes * centers], floating; the centers of a class follow each other.
      centers: of each class, at least 1.
      margin: of the similarity, not negative; the paper's delta.
      scale: factor of all similarities, positive; the paper's lambda.
      temperature: positive; the lower, the more the nearest center counts alone; the paper's gamma.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row; None: 1.
      reduce_fn: reduces one value for each row, see `reductions`.

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a number out of range.

    Example:
      >>> import jax.numpy as jnp
      >>> weights = jnp.array([[1.0, 0.0, -1.0, 1.0], [0.0, 3.0, 0.5, 1.0]])
      >>> embeddings, labels = jnp.array([[1.0, 0.5]]), jnp.array([0])
      >>> round(float(soft_triple_loss(embeddings, labels, weights, centers=2, scale=4.0)), 4)
      0.8413

    Source: Qian et al., SoftTriple loss, ICCV 2019, without its penalty on centers that are apart,
    as pytorch-metric-learning has it.
    """
    check_positive(scale=scale, temperature=temperature)
    check_range("margin", margin, 0)
    embeddings, target, valid = class_inputs(
        embeddings, labels, class_weights, where, weights, centers
    )
    cosine = _by_center(embeddings, class_weights, centers)
    similarity = (jax.nn.softmax(cosine / temperature) * cosine).sum(-1)
    logits = scale * (similarity - margin * target)
    return cross_entropy(logits, target, valid, weights, reduce_fn)


def _by_center(embeddings: jax.Array, class_weights: jax.Array, centers: int) -> jax.Array:
    """Cosines [batch, classes, centers]."""
    cosine = class_cosines(embeddings, class_weights)
    return cosine.reshape(len(cosine), -1, centers)
