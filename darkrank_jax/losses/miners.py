"""Which pairs and triplets of a batch to learn from: pure functions of fixed shape.

Most take a matrix [anchors, batch] and the masks of positives and negatives of the same shape, see
`masks.label_masks`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from darkrank_jax.losses.internals.checks import check_choice
from darkrank_jax.losses.internals.sorting import argsort
from darkrank_jax.losses.pairwise import cosines


class Triplets(NamedTuple):
    """Triplets of fixed shape: axis 0 is the anchor, the indices are rows of the batch.

    Attributes:
      positive: integer [anchors, n].
      negative: integer [anchors, n].
      valid: bool [anchors, n], which of them are there.
    """

    positive: jax.Array
    negative: jax.Array
    valid: jax.Array


def hard_triplets(lengths: jax.Array, positives: jax.Array, negatives: jax.Array) -> Triplets:
    """Each anchor with its farthest positive and its nearest negative ("batch hard").

    Args:
      lengths: distances [anchors, batch].
      positives: bool [anchors, batch].
      negatives: bool [anchors, batch].

    Returns:
      One triplet for each anchor.

    Example:
      >>> lengths = jnp.array([[0.0, 1.0, 3.0, 2.0, 4.0]])
      >>> positives = jnp.array([[False, True, True, False, False]])
      >>> negatives = jnp.array([[False, False, False, True, True]])
      >>> triplets = hard_triplets(lengths, positives, negatives)
      >>> print(triplets.positive, triplets.negative)
      [[2]] [[3]]

    Source: Hermans, Beyer, Leibe, In defense of the triplet loss, 2017.
    """
    positive = jnp.where(positives, lengths, -jnp.inf).argmax(1, keepdims=True)
    negative = jnp.where(negatives, lengths, jnp.inf).argmin(1, keepdims=True)
    valid = positives.any(1, keepdims=True) & negatives.any(1, keepdims=True)
    return Triplets(positive, negative, valid)


def semi_hard_triplets(lengths: jax.Array, positives: jax.Array, negatives: jax.Array) -> Triplets:
    """Each positive pair with the nearest of the negatives that are farther than the positive.

    Args:
      lengths: distances [anchors, batch].
      positives: bool [anchors, batch].
      negatives: bool [anchors, batch].

    Returns:
      `batch` triplets for each anchor, one for each row as the positive; pairs whose negatives
      are all nearer are not valid.

    Example:
      >>> lengths = jnp.array([[0.0, 1.0, 3.0, 2.0, 4.0]])
      >>> positives = jnp.array([[False, True, True, False, False]])
      >>> negatives = jnp.array([[False, False, False, True, True]])
      >>> print(semi_hard_triplets(lengths, positives, negatives).negative[:, 1:3])
      [[3 4]]

    Source: Schroff, Kalenichenko, Philbin, FaceNet, CVPR 2015.
    """
    far = jnp.where(negatives, lengths, jnp.inf)
    order = argsort(far)
    ranked = jnp.take_along_axis(far, order, axis=1)
    place = jax.vmap(partial(jnp.searchsorted, side="right"))(ranked, lengths)
    there = place < negatives.sum(1, keepdims=True)
    negative = jnp.take_along_axis(order, jnp.where(there, place, 0), axis=1)
    return Triplets(_every_row(lengths), negative, positives & there)


def distance_weighted_triplets(
    lengths: jax.Array,
    positives: jax.Array,
    negatives: jax.Array,
    *,
    dim: int,
    key: jax.Array,
    cutoff: float = 0.5,
    farthest: float = 1.4,
) -> Triplets:
    """Each positive pair with a negative drawn so that every distance is as likely.

    P(negative) ~ 1 / q(d), q(d) = d^(dim - 2) (1 - d^2 / 4)^((dim - 3) / 2), the density of the
    distance of random points on a sphere.

    Args:
      lengths: distances [anchors, batch] of L2-normalised embeddings.
      positives: bool [anchors, batch].
      negatives: bool [anchors, batch].
      dim: components of an embedding.
      key: random key.
      cutoff: nearer negatives are drawn as if they were here, since they are mostly noise.
      farthest: farther negatives are drawn only where no other is, all alike.

    Returns:
      `batch` triplets for each anchor, one for each row as the positive.

    Example:
      >>> lengths = jnp.array([[0.0, 0.6, 1.9, 1.2]])
      >>> positives = jnp.array([[False, True, False, False]])
      >>> negatives = jnp.array([[False, False, True, True]])
      >>> key = jax.random.key(0)
      >>> triplets = distance_weighted_triplets(lengths, positives, negatives, dim=8, key=key)
      >>> print(triplets.negative[0, 1])
      3

    Source: Wu et al., Sampling matters in deep embedding learning, ICCV 2017.
    """
    reach = jnp.clip(lengths, cutoff, farthest)
    log_density = (dim - 2) * jnp.log(reach) + (dim - 3) / 2 * jnp.log(1 - reach**2 / 4)
    near = negatives & (lengths <= farthest)
    log_weights = jnp.where(near, -log_density, -1e30)
    weights = jnp.where(near, jnp.exp(log_weights - log_weights.max(1, keepdims=True)), 0)
    weights = jnp.where(near.any(1, keepdims=True), weights, negatives.astype(weights.dtype))
    # The first row at which the cumulative weight passes a uniform share of it.
    steps = jnp.cumsum(weights, axis=1)
    shares = jax.random.uniform(key, lengths.shape, steps.dtype) * steps[:, -1:]
    negative = jax.vmap(lambda step, share: jnp.searchsorted(step, share, side="right"))(
        steps, shares
    )
    negative = jnp.minimum(negative, lengths.shape[1] - 1)
    drawn = jnp.take_along_axis(negatives, negative, axis=1)
    return Triplets(_every_row(lengths), negative, positives & drawn)


def multi_similarity_pairs(
    similarities: jax.Array, positives: jax.Array, negatives: jax.Array, *, epsilon: float = 0.1
) -> tuple[jax.Array, jax.Array]:
    """Pairs that violate the order: positives below some negative, negatives above some positive.

    A positive counts if s - epsilon < max of the anchor's negatives, a negative if
    s + epsilon > min of the anchor's positives.

    Args:
      similarities: cosines [anchors, batch].
      positives: bool [anchors, batch].
      negatives: bool [anchors, batch].
      epsilon: slack, not negative.

    Returns:
      The masks of the positives and negatives that are left.

    Example:
      >>> similarities = jnp.array([[1.0, 0.9, 0.4, 0.5, 0.1]])
      >>> positives = jnp.array([[False, True, True, False, False]])
      >>> negatives = jnp.array([[False, False, False, True, True]])
      >>> for mask in multi_similarity_pairs(similarities, positives, negatives):
      ...     print(mask.astype(int))
      [[0 0 1 0 0]]
      [[0 0 0 1 0]]

    Source: Wang et al., Multi-similarity loss, CVPR 2019.
    """
    highest = jnp.where(negatives, similarities, -jnp.inf).max(1, keepdims=True)
    lowest = jnp.where(positives, similarities, jnp.inf).min(1, keepdims=True)
    return (
        positives & (similarities - epsilon < highest),
        negatives & (similarities + epsilon > lowest),
    )


def hard_pairs(
    similarities: jax.Array, positives: jax.Array, negatives: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Each anchor's least similar positive and its most similar negative.

    Args:
      similarities: cosines [anchors, batch].
      positives: bool [anchors, batch].
      negatives: bool [anchors, batch].

    Returns:
      Masks of one positive and one negative for each anchor that has both.

    Example:
      >>> similarities = jnp.array([[1.0, 0.9, 0.4, 0.5, 0.1]])
      >>> positives = jnp.array([[False, True, True, False, False]])
      >>> negatives = jnp.array([[False, False, False, True, True]])
      >>> for mask in hard_pairs(similarities, positives, negatives):
      ...     print(mask.astype(int))
      [[0 0 1 0 0]]
      [[0 0 0 1 0]]

    Source: Hermans, Beyer, Leibe, In defense of the triplet loss, 2017.
    """
    rows = jnp.arange(similarities.shape[1])[None, :]
    positive = jnp.where(positives, similarities, jnp.inf).argmin(1, keepdims=True)
    negative = jnp.where(negatives, similarities, -jnp.inf).argmax(1, keepdims=True)
    both = positives.any(1, keepdims=True) & negatives.any(1, keepdims=True)
    return positives & both & (rows == positive), negatives & both & (rows == negative)


# What a loss on pairs may call its mining, beside "all".
_PAIRS: dict[str, Callable[..., tuple[jax.Array, jax.Array]]] = {
    "hard": hard_pairs,
    "multi_similarity": multi_similarity_pairs,
}


def mined_pairs(
    mining: str, embeddings: jax.Array, positives: jax.Array, negatives: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The pairs of a batch that a loss on pairs learns from.

    Args:
      mining: "all", "hard" (`hard_pairs`) or "multi_similarity" (`multi_similarity_pairs`, slack
        0.1), by the cosines of the embeddings.
      embeddings: [batch, dim], floating.
      positives: bool [anchors, batch], anchors the first rows of the batch.
      negatives: bool [anchors, batch].

    Returns:
      The masks of the positives and negatives that are left. Pairs with NaN stay, and so make the
      loss NaN.

    Raises:
      ValueError: an unknown mining.

    Example:
      >>> embeddings = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 1.0]])
      >>> positives = jnp.array([[False, True, True, False]])
      >>> print(mined_pairs("hard", embeddings, positives, positives[:, ::-1])[0].astype(int))
      [[0 0 1 0]]
    """
    check_choice("mining", mining, ("all", *_PAIRS))
    if mining == "all":
        return positives, negatives
    similarities = jax.lax.stop_gradient(cosines(embeddings[: len(positives)], embeddings))
    mined = _PAIRS[mining](similarities, positives, negatives)
    wrong = jnp.isnan(similarities)
    return mined[0] | (positives & wrong), mined[1] | (negatives & wrong)


def _every_row(lengths: jax.Array) -> jax.Array:
    """The index of every row of the batch, for every anchor."""
    return jnp.broadcast_to(jnp.arange(lengths.shape[1])[None, :], lengths.shape)
