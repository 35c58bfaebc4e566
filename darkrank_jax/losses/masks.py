"""Which rows, pairs and triplets of a batch count: masks of fixed shape.

Anchors are the first `num_anchors` rows of the batch (None: all of it), so masks of pairs are
[anchor, other] and masks of triplets [anchor, positive, negative].
"""

import jax
import jax.numpy as jnp

from darkrank_jax.losses.internals.checks import check_arrays, check_whole
from darkrank_jax.losses.pairwise import upcast, zero_rows

# Logit of what a mask leaves out: its exponential is 0, and no difference of it is NaN.
ABSENT_LOGIT = -1e30


def valid_rows(batch: int, where: jax.Array | None) -> jax.Array:
    """The mask [batch] of rows that count; all of them without `where`."""
    return jnp.ones([batch], bool) if where is None else where


def other_mask(valid: jax.Array, num_anchors: int | None = None) -> jax.Array:
    """Pairs of two different rows that count.

    Args:
      valid: bool [batch], rows that count.
      num_anchors: how many first rows are anchors; None: all.

    Returns:
      bool [num_anchors, batch].

    Example:
      >>> print(other_mask(jnp.array([True, True, False])).astype(int))
      [[0 1 0]
       [1 0 0]
       [0 0 0]]
    """
    batch = valid.shape[0]
    num_anchors = batch if num_anchors is None else num_anchors
    different = ~jnp.eye(num_anchors, batch, dtype=bool)
    return different & valid[:num_anchors, None] & valid[None, :]


def label_masks(
    labels: jax.Array, valid: jax.Array, num_anchors: int | None = None
) -> tuple[jax.Array, jax.Array]:
    """Positive pairs (same label) and negative pairs (another label).

    Args:
      labels: integer [batch].
      valid: bool [batch], rows that count.
      num_anchors: how many first rows are anchors; None: all.

    Returns:
      Positives and negatives, each bool [num_anchors, batch].

    Example:
      >>> positives, negatives = label_masks(jnp.array([7, 7, 9]), jnp.ones([3], bool))
      >>> print(positives.astype(int))
      [[0 1 0]
       [1 0 0]
       [0 0 0]]
      >>> print(negatives.astype(int))
      [[0 0 1]
       [0 0 1]
       [1 1 0]]
    """
    others = other_mask(valid, num_anchors)
    same = labels[: others.shape[0], None] == labels[None, :]
    return others & same, others & ~same


def triplet_mask(positives: jax.Array, negatives: jax.Array) -> jax.Array:
    """Triplets of an anchor, a positive and a negative.

    Args:
      positives: bool [anchors, batch].
      negatives: bool [anchors, batch].

    Returns:
      bool [anchors, batch, batch], axes anchor, positive, negative.

    Example:
      >>> masks = label_masks(jnp.array([7, 7, 9]), jnp.ones([3], bool))
      >>> print(jnp.argwhere(triplet_mask(*masks)))
      [[0 1 2]
       [1 0 2]]
    """
    return positives[:, :, None] & negatives[:, None, :]


def labelled_pairs(
    embeddings: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    weights: jax.Array | None,
    num_anchors: int | None,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array | None]:
    """Checked embeddings, rows that do not count at zero, the masks of `label_masks`, and the
    weights of the anchors."""
    check_arrays(
        embeddings=(embeddings, "float", "batch dim"),
        labels=(labels, "integer", "batch"),
        where=(where, "bool", "batch"),
        weights=(weights, "float", "batch"),
    )
    batch = embeddings.shape[0]
    check_whole("num_anchors", batch if num_anchors is None else num_anchors, 1, batch)
    valid = valid_rows(batch, where)
    masks = label_masks(labels, valid, num_anchors)
    return zero_rows(embeddings, valid), *masks, anchor_weights(weights, num_anchors)


def anchor_weights(weights: jax.Array | None, num_anchors: int | None) -> jax.Array | None:
    """The weights of the rows that are anchors; None without weights."""
    return None if weights is None else upcast(weights)[:num_anchors]


def teacher_student_rows(
    student: jax.Array,
    teacher: jax.Array,
    where: jax.Array | None,
    weights: jax.Array | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Checked embeddings of student and teacher, masked rows at zero, and the mask [batch].

    No gradient reaches the teacher.
    """
    check_arrays(
        student_embeddings=(student, "float", "batch dim"),
        teacher_embeddings=(teacher, "float", "batch teacher_dim"),
        where=(where, "bool", "batch"),
        weights=(weights, "float", "batch"),
    )
    valid = valid_rows(student.shape[0], where)
    return zero_rows(student, valid), jax.lax.stop_gradient(zero_rows(teacher, valid)), valid


def pair_mask(valid: jax.Array) -> jax.Array:
    """Pairs [batch, batch] of rows that count, a row with itself included."""
    return valid[:, None] & valid[None, :]


def masked_logsumexp(logits: jax.Array, mask: jax.Array, axis: int = -1) -> jax.Array:
    """Logsumexp of the logits in the mask; `ABSENT_LOGIT` or near it where the mask is empty."""
    return jax.nn.logsumexp(jnp.where(mask, logits, ABSENT_LOGIT), axis=axis)
