"""Embeddings against one weight vector a class: softmax, with and without a margin.

Class weights are [dim, classes]: column c is the weight vector of class c.
"""

import math

import jax
import jax.numpy as jnp

from darkrank_jax.losses.internals.checks import (
    check_arrays,
    check_positive,
    check_range,
    check_whole,
)
from darkrank_jax.losses.internals.devices import on_any_mesh
from darkrank_jax.losses.masks import valid_rows
from darkrank_jax.losses.pairwise import (
    inner_products,
    nan_if,
    normalize,
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
    logits = scale * with_angular_margin(class_cosines(embeddings, class_weights), target, margin)
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
    embeddings, labels, class_weights, where, weights, centers: int = 1
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Checked embeddings, the mask [batch, classes] of each row's class, the rows that count."""
    check_whole("centers", centers, 1)
    check_arrays(
        embeddings=(embeddings, "float", "batch dim"),
        labels=(labels, "integer", "batch"),
        class_weights=(class_weights, "float", "dim classes"),
        where=(where, "bool", "batch"),
        weights=(weights, "float", "batch"),
    )
    classes, rest = divmod(class_weights.shape[1], centers)
    if rest:
        raise ValueError(
            f"class_weights: got shape {list(class_weights.shape)}, expected [dim, classes * "
            f"{centers}] with {centers} centers a class"
        )
    valid = valid_rows(embeddings.shape[0], where)
    target = labels[:, None] == jnp.arange(classes)[None, :]
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
    values = -own_logits(jax.nn.log_softmax(logits), target)[:, 0]
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


def own_logits(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Of each row the logit [batch, 1] of its class."""
    return jnp.where(target, logits, 0).sum(1, keepdims=True)


def angle_of(cosine: jax.Array) -> jax.Array:
    """Angle of a cosine; its slope is infinite at -1 and 1, so those keep a distance."""
    limit = 1 - 4 * float(jnp.finfo(cosine.dtype).eps)
    return jnp.arccos(jnp.clip(cosine, -limit, limit))


def with_angular_margin(
    cosine: jax.Array, target: jax.Array, margin: float | jax.Array
) -> jax.Array:
    """Cosines, with cos(a + margin) for the own class; see `arcface_loss`."""
    cos = jnp.cos if isinstance(margin, jax.Array) else math.cos
    own = own_logits(cosine, target)
    angle = angle_of(own)
    own = jnp.where(angle <= math.pi - margin, jnp.cos(angle + margin), own - 1 + cos(margin))
    return jnp.where(target, own, cosine)
