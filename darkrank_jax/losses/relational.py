"""A student's similarities between the images of a batch against the teacher's similarities."""

import jax
import jax.numpy as jnp

from darkrank_jax.losses.internals.checks import check_arrays, check_choice, check_positive
from darkrank_jax.losses.internals.devices import on_any_mesh
from darkrank_jax.losses.masks import other_mask, pair_mask, teacher_student_rows
from darkrank_jax.losses.pairwise import (
    cosines,
    distances,
    inner_products,
    normalize,
    safe_divide,
    squared_distances,
)
from darkrank_jax.losses.reductions import ReduceFn, apply_reduction, mean, row_means


@on_any_mesh
def similarity_match_loss(
    student_embeddings: jax.Array,
    teacher_embeddings: jax.Array,
    *,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Direct similarity transfer: the student copies the teacher's distances as they are.

    (d_ij - t_ij)^2, mean over pairs i != j

    Args:
      student_embeddings: [batch, dim], floating, used as given.
      teacher_embeddings: [batch, teacher_dim], floating; no gradient.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row; None: 1.
      reduce_fn: reduces one value for each row, its mean over the pairs, see `reductions`.

    Returns:
      Scalar, not negative; 0 when the distances are the same.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree.

    Example:
      >>> print(similarity_match_loss(jnp.array([[0.0], [3.0]]), jnp.array([[0.0], [1.0]])))
      4.0

    Source: DarkRank (Chen et al., AAAI 2018), where it is called direct similarity transfer.
    """
    student, teacher, valid = teacher_student_rows(
        student_embeddings, teacher_embeddings, where, weights
    )
    values = jnp.square(distances(student) - distances(teacher))
    others = other_mask(valid)
    return apply_reduction(reduce_fn, row_means(values, others), others.any(1), weights)


@on_any_mesh
def pkt_loss(
    student_embeddings: jax.Array,
    teacher_embeddings: jax.Array,
    *,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Probabilistic transfer: the student copies how probable a neighbour each image is.

    t_ij log(t_ij / s_ij), mean over all pairs; s and t: (1 + cosine) / 2, each row over its sum

    Args:
      student_embeddings: [batch, dim], floating.
      teacher_embeddings: [batch, teacher_dim], floating; no gradient.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row; None: 1.
      reduce_fn: reduces one value for each row, its mean over the pairs, see `reductions`.

    Returns:
      Scalar; 0 when the cosines are the same.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree.

    Example:
      >>> student = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
      >>> round(float(pkt_loss(student, student[::-1])), 4)
      0.015

    Source: Passalis and Tefas, Learning deep representations with probabilistic knowledge transfer,
    ECCV 2018; the mean over pairs and the 1e-7 in the logarithm are those of common code.
    """
    student, teacher, valid = teacher_student_rows(
        student_embeddings, teacher_embeddings, where, weights
    )
    student, teacher = (
        _rows_over_sum(jnp.where(pair_mask(valid), (1 + cosines(rows)) / 2, 0))
        for rows in (student, teacher)
    )
    values = teacher * jnp.log((teacher + 1e-7) / (student + 1e-7))
    return apply_reduction(reduce_fn, row_means(values, pair_mask(valid)), valid, weights)


@on_any_mesh
def similarity_preserving_loss(
    student_embeddings: jax.Array,
    teacher_embeddings: jax.Array,
    *,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """The student copies which images excite the network alike.

    (s_ij - t_ij)^2, mean over all pairs; s and t: inner products, each row L2-normalised

    Args:
      student_embeddings: [batch, dim], floating; flattened feature maps serve as well.
      teacher_embeddings: [batch, teacher_dim], floating; no gradient.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row; None: 1.
      reduce_fn: reduces one value for each row, its mean over the pairs, see `reductions`.

    Returns:
      Scalar, not negative; 0 when the inner products are the same but for scale.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree.

    Example:
      >>> student = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
      >>> round(float(similarity_preserving_loss(student, student[::-1])), 4)
      0.1707

    Source: Tung and Mori, Similarity-preserving knowledge distillation, ICCV 2019.
    """
    student, teacher, valid = teacher_student_rows(
        student_embeddings, teacher_embeddings, where, weights
    )
    student, teacher = (normalize(inner_products(rows, rows)) for rows in (student, teacher))
    values = row_means(jnp.square(student - teacher), pair_mask(valid))
    return apply_reduction(reduce_fn, values, valid, weights)


@on_any_mesh
def correlation_congruence_loss(
    student_embeddings: jax.Array,
    teacher_embeddings: jax.Array,
    *,
    kernel: str = "neighbors",
    gamma: float = 0.4,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """The student copies the correlation of images, in one of two readings.

    "neighbors": <|s_i - t_i|, |s_i+1 - t_i+1|>, mean over rows that follow each other;
    "gaussian": (k(s_i, s_j) - k(t_i, t_j))^2, mean over all pairs, k(x, y) = exp(-gamma |x - y|^2)
    of L2-normalised embeddings

    Args:
      student_embeddings: [batch, dim], floating.
      teacher_embeddings: [batch, teacher_dim], floating, dim the same for "neighbors"; no gradient.
      kernel: "neighbors", which common code has and which depends on the order of the batch, or
        "gaussian", which the paper has.
      gamma: sharpness of the Gaussian kernel, positive.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row; None: 1.
      reduce_fn: reduces one value for each row, its mean over the pairs or its product with
        the next row, see `reductions`.

    Returns:
      Scalar, not negative; 0 when the embeddings ("neighbors") or the cosines are the same.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, an unknown kernel, a number out of range.

    Example:
      >>> student = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
      >>> round(float(correlation_congruence_loss(student, 1.5 * student)), 4)
      0.125
      >>> round(float(correlation_congruence_loss(student, student[::-1], kernel="gaussian")), 4)
      0.0519

    Source: Peng et al., Correlation congruence for knowledge distillation, ICCV 2019; the Gaussian
    itself instead of the first terms of its series.
    """
    check_positive(gamma=gamma)
    check_choice("kernel", kernel, ("neighbors", "gaussian"))
    student, teacher, valid = teacher_student_rows(
        student_embeddings, teacher_embeddings, where, weights
    )
    if kernel == "gaussian":
        # Kernels minus 1: near 1 float32 would round off the difference of two.
        student, teacher = (
            jnp.expm1(-gamma * squared_distances(normalize(rows))) for rows in (student, teacher)
        )
        values = row_means(jnp.square(student - teacher), pair_mask(valid))
        return apply_reduction(reduce_fn, values, valid, weights)
    check_arrays(
        student_embeddings=(student, "float", "batch dim"),
        teacher_embeddings=(teacher, "float", "batch dim"),
    )
    gaps = jnp.abs(student - teacher)
    # No row follows the last one.
    values = jnp.pad((gaps[:-1] * gaps[1:]).sum(-1), (0, 1))
    followed = jnp.pad(valid[:-1] & valid[1:], (0, 1))
    return apply_reduction(reduce_fn, values, followed, weights)


@on_any_mesh
def relaxed_contrastive_loss(
    student_embeddings: jax.Array,
    teacher_embeddings: jax.Array,
    *,
    sigma: float = 1.0,
    margin: float = 1.0,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Contrastive loss whose labels are the teacher's similarities instead of classes.

    sum_j w_ij d_ij^2 + (1 - w_ij) max(0, margin - d_ij)^2 over j != i, mean over i, with
    w_ij = exp(-|t_i - t_j|^2 / sigma) of L2-normalised t, d_ij = |s_i - s_j| over its mean over j

    Args:
      student_embeddings: [batch, dim], floating, used as given.
      teacher_embeddings: [batch, teacher_dim], floating; no gradient.
      sigma: bandwidth of the teacher's similarity, positive.
      margin: in mean distances, positive; the paper's delta.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row; None: 1.
      reduce_fn: reduces one value for each row, see `reductions`.

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a number that is not positive.

    Example:
      >>> student = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
      >>> round(float(relaxed_contrastive_loss(student, student[::-1], sigma=0.5)), 4)
      1.0531

    Source: Kim et al., Embedding transfer with label relaxation, CVPR 2021.
    """
    check_positive(sigma=sigma, margin=margin)
    student, teacher, valid = teacher_student_rows(
        student_embeddings, teacher_embeddings, where, weights
    )
    # 1 - w, which float32 would round off where the teacher is near.
    unlike = -jnp.expm1(-squared_distances(normalize(teacher)) / sigma)
    lengths = jnp.where(pair_mask(valid), distances(student), 0)
    # The distance to itself, 0, is part of the mean.
    lengths = safe_divide(lengths, lengths.sum(1, keepdims=True) / jnp.maximum(valid.sum(), 1))
    pull = (1 - unlike) * jnp.square(lengths)
    push = unlike * jnp.square(jax.nn.relu(margin - lengths))
    values = jnp.where(other_mask(valid), pull + push, 0).sum(1)
    return apply_reduction(reduce_fn, values, valid, weights)


def _rows_over_sum(kernel: jax.Array) -> jax.Array:
    """Every row over its sum."""
    return safe_divide(kernel, kernel.sum(1, keepdims=True))
