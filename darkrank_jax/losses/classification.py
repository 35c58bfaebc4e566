"""Embeddings against one weight vector a class: softmax, with and without a margin.

Class weights are [dim, classes]: column c is the weight vector of class c.
"""

import math

import jax
import jax.numpy as jnp

from darkrank_jax.losses.checks import check_arrays, check_positive, check_range, check_whole
from darkrank_jax.losses.devices import on_any_mesh
from darkrank_jax.losses.masks import valid_rows
from darkrank_jax.losses.pairwise import (
    inner_products,
    nan_if,
    normalize,
    safe_sqrt,
    upcast,
    zero_rows,
)
from darkrank_jax.losses.reductions import ReduceFn, apply_reduction, mean


def softmax_logits(embeddings: jax.Array, class_weights: jax.Array) -> jax.Array:
    """Logits of a linear classifier: <embedding, weight>.

    Args:
      embeddings: [batch, dim], floating.
      class_weights: [dim, classes], floating.

    Returns:
      [batch, classes], float32 at least.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree.

    Example:
      >>> print(softmax_logits(jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 0.0], [0.0, 3.0]])))
      [[1. 6.]]
    """
    _check(embeddings, class_weights)
    return inner_products(upcast(embeddings), upcast(class_weights).T)


def normalized_softmax_logits(
    embeddings: jax.Array, class_weights: jax.Array, *, temperature: float = 0.05
) -> jax.Array:
    """Logits of a cosine classifier: cos(embedding, weight) / temperature.

    Args:
      embeddings: [batch, dim], floating.
      class_weights: [dim, classes], floating.
      temperature: positive.

    Returns:
      [batch, classes], float32 at least.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a temperature that is not positive.

    Example:
      >>> weights = jnp.array([[1.0, 0.0], [0.0, 3.0]])
      >>> print(normalized_softmax_logits(jnp.array([[3.0, 4.0]]), weights, temperature=0.5))
      [[1.2 1.6]]
    """
    check_positive(temperature=temperature)
    return class_cosines(embeddings, class_weights) / temperature


@on_any_mesh
def softmax_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    class_weights: jax.Array,
    *,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Cross-entropy of a linear classifier.

    -log softmax(<embedding, weight_c>)[label], mean over the batch

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch], from 0 to classes - 1; with others the loss is NaN.
      class_weights: [dim, classes], floating.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row; None: 1.
      reduce_fn: reduces one value for each row, see `reductions`.

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree.

    Example:
      >>> weights = jnp.array([[1.0, 0.0], [0.0, 3.0]])
      >>> round(float(softmax_loss(jnp.array([[1.0, 0.5]]), jnp.array([0]), weights)), 4)
      0.9741
    """
    embeddings, target, valid = class_inputs(embeddings, labels, class_weights, where, weights)
    logits = softmax_logits(embeddings, class_weights)
    return cross_entropy(logits, target, valid, weights, reduce_fn)


@on_any_mesh
def normalized_softmax_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    class_weights: jax.Array,
    *,
    temperature: float = 0.05,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Cross-entropy of a cosine classifier.

    -log softmax(cos(embedding, weight_c) / temperature)[label], mean over the batch

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch], from 0 to classes - 1; with others the loss is NaN.
      class_weights: [dim, classes], floating.
      temperature: positive.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row; None: 1.
      reduce_fn: reduces one value for each row, see `reductions`.

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a temperature that is not positive.

    Example:
      >>> weights = jnp.array([[1.0, 0.0], [0.0, 3.0]])
      >>> embeddings, labels = jnp.array([[1.0, 0.5]]), jnp.array([1])
      >>> round(float(normalized_softmax_loss(embeddings, labels, weights, temperature=0.5)), 4)
      1.2372

    Source: Zhai and Wu, Classification is a strong baseline for deep metric learning, BMVC 2019.
    """
    embeddings, target, valid = class_inputs(embeddings, labels, class_weights, where, weights)
    logits = normalized_softmax_logits(embeddings, class_weights, temperature=temperature)
    return cross_entropy(logits, target, valid, weights, reduce_fn)


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
    angle = _angle(_own(cosine, target))
    part = jax.lax.stop_gradient(jnp.floor(angle * margin / math.pi))
    psi = (1 - 2 * (part % 2)) * jnp.cos(margin * angle) - 2 * part
    lengths = _norms(embeddings, 1) * _norms(upcast(class_weights), 0)
    logits = scale * lengths * jnp.where(target, psi, cosine)
    return cross_entropy(logits, target, valid, weights, reduce_fn)


@on_any_mesh
def arcface_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    class_weights: jax.Array,
    *,
    margin: float = 0.5,
    scale: float = 64.0,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """ArcFace: the angle to the own class must be smaller by a margin.

    Cross-entropy of scale cos(a_c), with cos(a + margin) for the own class

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch], from 0 to classes - 1; with others the loss is NaN.
      class_weights: [dim, classes], floating.
      margin: in radians, from 0 to pi; the paper's m.
      scale: factor of all cosines, positive.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row; None: 1.
      reduce_fn: reduces one value for each row, see `reductions`.

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a margin or scale out of range.

    Example:
      >>> weights = jnp.array([[1.0, 0.0], [0.0, 3.0]])
      >>> embeddings, labels = jnp.array([[1.0, 0.5]]), jnp.array([1])
      >>> round(float(arcface_loss(embeddings, labels, weights, scale=4.0)), 4)
      3.747

    Source: Deng et al., ArcFace, CVPR 2019. Beyond pi, where cos(a + margin) would rise
    again, the own cosine falls by 1 + cos(pi - margin) instead, which joins it.
    """
    check_positive(scale=scale)
    check_range("margin", margin, 0, math.pi)
    embeddings, target, valid = class_inputs(embeddings, labels, class_weights, where, weights)
    cosine = class_cosines(embeddings, class_weights)
    cos = jnp.cos if isinstance(margin, jax.Array) else math.cos
    own = _own(cosine, target)
    angle = _angle(own)
    own = jnp.where(angle <= math.pi - margin, jnp.cos(angle + margin), own - 1 + cos(margin))
    logits = scale * jnp.where(target, own, cosine)
    return cross_entropy(logits, target, valid, weights, reduce_fn)


@on_any_mesh
def cosface_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    class_weights: jax.Array,
    *,
    margin: float = 0.35,
    scale: float = 64.0,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """CosFace: the cosine to the own class must be greater by a margin.

    Cross-entropy of scale cos(a_c), with cos(a) - margin for the own class

    Args:
      embeddings: [batch, dim], floating.
      labels: integer [batch], from 0 to classes - 1; with others the loss is NaN.
      class_weights: [dim, classes], floating.
      margin: of the cosine, from 0 to 2.
      scale: factor of all cosines, positive.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row; None: 1.
      reduce_fn: reduces one value for each row, see `reductions`.

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a margin or scale out of range.

    Example:
      >>> weights = jnp.array([[1.0, 0.0], [0.0, 3.0]])
      >>> embeddings, labels = jnp.array([[1.0, 0.5]]), jnp.array([1])
      >>> round(float(cosface_loss(embeddings, labels, weights, scale=4.0)), 4)
      3.2292

    Source: Wang et al., CosFace, CVPR 2018.
    """
    check_positive(scale=scale)
    check_range("margin", margin, 0, 2)
    embeddings, target, valid = class_inputs(embeddings, labels, class_weights, where, weights)
    cosine = class_cosines(embeddings, class_weights)
    logits = scale * jnp.where(target, cosine - margin, cosine)
    return cross_entropy(logits, target, valid, weights, reduce_fn)


def class_inputs(
    embeddings, labels, class_weights, where, weights
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Checked embeddings, the mask [batch, classes] of each row's class, the rows that count."""
    check_arrays(
        embeddings=(embeddings, "float", "batch dim"),
        labels=(labels, "integer", "batch"),
        class_weights=(class_weights, "float", "dim classes"),
        where=(where, "bool", "batch"),
        weights=(weights, "float", "batch"),
    )
    valid = valid_rows(embeddings.shape[0], where)
    target = labels[:, None] == jnp.arange(class_weights.shape[1])[None, :]
    return zero_rows(embeddings, valid), target, valid


def class_cosines(embeddings: jax.Array, class_weights: jax.Array) -> jax.Array:
    """Cosines [batch, classes]."""
    _check(embeddings, class_weights)
    return inner_products(normalize(embeddings), normalize(class_weights, axis=0).T)


def cross_entropy(
    logits: jax.Array,
    target: jax.Array,
    valid: jax.Array,
    weights: jax.Array | None,
    reduce_fn: ReduceFn,
) -> jax.Array:
    """-log softmax of the own class, reduced over the rows."""
    values = -_own(jax.nn.log_softmax(logits), target)[:, 0]
    return nan_if(unknown_labels(target, valid), apply_reduction(reduce_fn, values, valid, weights))


def unknown_labels(target: jax.Array, valid: jax.Array) -> jax.Array:
    """Rows whose label is not a class, which would count as a loss of 0."""
    return valid & ~target.any(1)


def _check(embeddings: jax.Array, class_weights: jax.Array) -> None:
    """Checks what the logits need."""
    check_arrays(
        embeddings=(embeddings, "float", "batch dim"),
        class_weights=(class_weights, "float", "dim classes"),
    )


def _own(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Of each row the logit [batch, 1] of its class."""
    return jnp.where(target, logits, 0).sum(1, keepdims=True)


def _angle(cosine: jax.Array) -> jax.Array:
    """Angle of a cosine; its slope is infinite at -1 and 1, so those keep a distance."""
    limit = 1 - 4 * float(jnp.finfo(cosine.dtype).eps)
    return jnp.arccos(jnp.clip(cosine, -limit, limit))


def _norms(vectors: jax.Array, axis: int) -> jax.Array:
    """L2 norms."""
    return safe_sqrt(jnp.square(vectors).sum(axis, keepdims=True))
