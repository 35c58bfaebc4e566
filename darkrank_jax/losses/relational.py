"""A student's relations between the images of a batch against the teacher's."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from darkrank_jax.losses.checks import check_arrays, check_choice, check_positive
from darkrank_jax.losses.masks import other_mask, valid_rows
from darkrank_jax.losses.pairwise import (
    cosines,
    distances,
    inner_products,
    normalize,
    safe_divide,
    safe_sqrt,
    squared_distances,
    zero_rows,
)
from darkrank_jax.losses.reductions import ReduceFn, apply_reduction, mean, row_means
from darkrank_jax.losses.tiles import map_rows, tiled, untiled

# Of vertices: squared lengths of their edges and inverse lengths, each as rows of its matrix and as
# columns. They are equal, but where rows lie on several devices, each device has its own part of
# every column; and XLA makes a faster loop of the two on a CPU.
Edges = tuple[jax.Array, jax.Array, jax.Array, jax.Array]


def rkd_distance_loss(
    student_embeddings: jax.Array,
    teacher_embeddings: jax.Array,
    *,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """The student copies the teacher's distances, each over their mean in the batch.

    smooth_l1(d_ij / mean(d) - t_ij / mean(t)), mean over all pairs (i, j), (i, i) included

    Args:
      student_embeddings: [batch, dim], floating, used as given.
      teacher_embeddings: [batch, teacher_dim], floating; no gradient.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row; None: 1.
      reduce_fn: reduces one value for each row, its mean over the pairs, see `reductions`.

    Returns:
      Scalar, not negative; 0 when the distances are the same but for scale.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree.

    Example:
      >>> student = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
      >>> round(float(rkd_distance_loss(student, jnp.array([[0.0], [1.0], [3.0]]))), 4)
      0.0233

    Source: Park et al., Relational knowledge distillation, CVPR 2019.
    """
    student, teacher, valid = _embeddings(student_embeddings, teacher_embeddings, where, weights)
    others = other_mask(valid)
    student, teacher = (
        safe_divide(lengths, mean(lengths, where=others))
        for lengths in (distances(student), distances(teacher))
    )
    values = row_means(_smooth_l1(student - teacher), _pairs(valid))
    return apply_reduction(reduce_fn, values, valid, weights)


def rkd_angle_loss(
    student_embeddings: jax.Array,
    teacher_embeddings: jax.Array,
    *,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """The student copies the teacher's angles in every triangle of the batch.

    smooth_l1(cos_student(j, i, k) - cos_teacher(j, i, k)), mean over all (i, j, k), vertex i

    The cosines come from the distances by the law of cosines, a few vertices at a time, and again
    for the gradient, which has a rule of its own: batch^3 work without dim, batch^2 memory.
    Differentiates in reverse mode alone, as often as wanted.

    Args:
      student_embeddings: [batch, dim], floating, used as given.
      teacher_embeddings: [batch, teacher_dim], floating; no gradient.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row; None: 1.
      reduce_fn: reduces one value for each vertex, see `reductions`.

    Returns:
      Scalar, not negative; 0 when the angles are the same.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree.

    Example:
      >>> student = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
      >>> round(float(rkd_angle_loss(student, jnp.array([[0.0], [1.0], [3.0]]))), 4)
      0.1076

    Source: Park et al., Relational knowledge distillation, CVPR 2019.
    """
    student, teacher, valid = _embeddings(student_embeddings, teacher_embeddings, where, weights)
    dtype = jnp.promote_types(student.dtype, teacher.dtype)
    squares = (squared_distances(rows).astype(dtype) for rows in (student, teacher))
    values = _angle_losses(*squares, valid)
    return apply_reduction(reduce_fn, values, valid, weights)


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
    student, teacher, valid = _embeddings(student_embeddings, teacher_embeddings, where, weights)
    values = jnp.square(distances(student) - distances(teacher))
    others = other_mask(valid)
    return apply_reduction(reduce_fn, row_means(values, others), others.any(1), weights)


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
    student, teacher, valid = _embeddings(student_embeddings, teacher_embeddings, where, weights)
    student, teacher = (
        _rows_over_sum(jnp.where(_pairs(valid), (1 + cosines(rows)) / 2, 0))
        for rows in (student, teacher)
    )
    values = teacher * jnp.log((teacher + 1e-7) / (student + 1e-7))
    return apply_reduction(reduce_fn, row_means(values, _pairs(valid)), valid, weights)


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
    student, teacher, valid = _embeddings(student_embeddings, teacher_embeddings, where, weights)
    student, teacher = (normalize(inner_products(rows, rows)) for rows in (student, teacher))
    values = row_means(jnp.square(student - teacher), _pairs(valid))
    return apply_reduction(reduce_fn, values, valid, weights)


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
    student, teacher, valid = _embeddings(student_embeddings, teacher_embeddings, where, weights)
    if kernel == "gaussian":
        # Kernels minus 1: near 1 float32 would round off the difference of two.
        student, teacher = (
            jnp.expm1(-gamma * squared_distances(normalize(rows))) for rows in (student, teacher)
        )
        values = row_means(jnp.square(student - teacher), _pairs(valid))
        return apply_reduction(reduce_fn, values, valid, weights)
    check_arrays(
        student_embeddings=(student, "float", "batch dim"),
        teacher_embeddings=(teacher, "float", "batch dim"),
    )
    gaps = jnp.abs(student - teacher)
    # The last row has none that follows.
    values = jnp.pad((gaps[:-1] * gaps[1:]).sum(-1), (0, 1))
    followed = jnp.pad(valid[:-1] & valid[1:], (0, 1))
    return apply_reduction(reduce_fn, values, followed, weights)


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
    student, teacher, valid = _embeddings(student_embeddings, teacher_embeddings, where, weights)
    # 1 - w, which float32 would round off where the teacher is near.
    unlike = -jnp.expm1(-squared_distances(normalize(teacher)) / sigma)
    lengths = jnp.where(_pairs(valid), distances(student), 0)
    # The distance to itself, 0, is part of the mean.
    lengths = safe_divide(lengths, lengths.sum(1, keepdims=True) / jnp.maximum(valid.sum(), 1))
    pull = (1 - unlike) * jnp.square(lengths)
    push = unlike * jnp.square(jax.nn.relu(margin - lengths))
    values = jnp.where(other_mask(valid), pull + push, 0).sum(1)
    return apply_reduction(reduce_fn, values, valid, weights)


def _embeddings(student, teacher, where, weights) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Checked embeddings, rows that do not count at zero, and the mask of those that do."""
    check_arrays(
        student_embeddings=(student, "float", "batch dim"),
        teacher_embeddings=(teacher, "float", "batch teacher_dim"),
        where=(where, "bool", "batch"),
        weights=(weights, "float", "batch"),
    )
    valid = valid_rows(student.shape[0], where)
    return zero_rows(student, valid), jax.lax.stop_gradient(zero_rows(teacher, valid)), valid


def _pairs(valid: jax.Array) -> jax.Array:
    """Pairs of rows that count, a row with itself included."""
    return valid[:, None] & valid[None, :]


def _rows_over_sum(kernel: jax.Array) -> jax.Array:
    """Every row over its sum."""
    return safe_divide(kernel, kernel.sum(1, keepdims=True))


def _smooth_l1(gaps: jax.Array) -> jax.Array:
    """Half the square below 1, linear above."""
    size = jnp.abs(gaps)
    return jnp.where(size < 1, 0.5 * jnp.square(gaps), size - 0.5)


@jax.custom_vjp
def _angle_losses(student: jax.Array, teacher: jax.Array, valid: jax.Array) -> jax.Array:
    """Mean loss of the angles at each vertex, from all squared distances."""

    def at(vertex: tuple[Edges, Edges]) -> jax.Array:
        return _smooth_l1(_gaps_at(vertex, student, teacher)).sum()

    sums = map_rows(at, _vertices(student, teacher, valid), len(valid))
    return sums / jnp.maximum(jnp.square(valid.sum()), 1).astype(student.dtype)


def _angle_losses_forward(student, teacher, valid):
    return _angle_losses(student, teacher, valid), (student, teacher, valid)


def _angle_losses_backward(residuals, cotangents):
    """One more pass over the vertices; automatic differentiation would need several."""
    student, teacher, valid = residuals
    at = functools.partial(_gradient_at, student, teacher)

    def by_vertex(vertices: Any) -> tuple[jax.Array, jax.Array]:
        def add(gradient: jax.Array, vertex: Any) -> tuple[jax.Array, jax.Array]:
            shares, of_edges = at(vertex)
            return gradient - 0.5 * shares, of_edges

        return jax.lax.scan(add, jnp.zeros_like(student), vertices)

    def by_tile(vertices: Any) -> tuple[jax.Array, jax.Array]:
        def add(gradient: jax.Array, tile: Any) -> tuple[jax.Array, jax.Array]:
            shares, of_edges = jax.vmap(at)(tile)
            return gradient - 0.5 * shares.sum(0), of_edges

        gradient, of_edges = jax.lax.scan(add, jnp.zeros_like(student), tiled(vertices, len(valid)))
        return gradient, untiled(of_edges, len(valid))

    scales = cotangents / jnp.maximum(jnp.square(valid.sum()), 1).astype(student.dtype)
    vertices = scales, _vertices(student, teacher, valid)
    gradient, of_edges = jax.lax.platform_dependent(vertices, cpu=by_vertex, default=by_tile)
    return gradient + of_edges, None, None


_angle_losses.defvjp(_angle_losses_forward, _angle_losses_backward)


def _gradient_at(
    student: jax.Array, teacher: jax.Array, vertex: Any
) -> tuple[jax.Array, jax.Array]:
    """What the angles at one vertex give to the sides opposite to it, twice, and to its edges."""
    scale, edges_of_both = vertex
    (edges, own, inverse, own_inverse), _ = edges_of_both
    gaps = _gaps_at(edges_of_both, student, teacher)
    # cosine_jk = (edge_j + edge_k - square_jk) / (2 |j| |k|), with edges to the vertex.
    shares = scale * jnp.clip(gaps, -1, 1) * own_inverse[:, None] * inverse[None, :]
    # The matrix is symmetric, and to add its rows is faster than to sum each.
    sums = inner_products(shares, jnp.ones_like(edges)[None])[:, 0]
    turned = own * sums + inner_products(shares, edges[None])[:, 0]
    turned -= (shares * student).sum(0)
    return shares, sums - 0.5 * jnp.square(own_inverse) * turned


def _vertices(student: jax.Array, teacher: jax.Array, valid: jax.Array) -> tuple[Edges, Edges]:
    """By vertex: its edges in the student and in the teacher."""
    found = []
    for squares in (student, teacher):
        inverse = safe_divide(jnp.ones_like(squares), safe_sqrt(squares))
        # Edges to rows that do not count have no angle.
        inverse = jnp.where(_pairs(valid), inverse, 0)
        found.append((squares, squares.T, inverse, inverse.T))
    return tuple(found)


def _gaps_at(vertex: tuple[Edges, Edges], student: jax.Array, teacher: jax.Array) -> jax.Array:
    """Cosines [batch, batch] of the angles at one vertex, the student's minus the teacher's."""
    of_student, of_teacher = vertex
    return _cosines_at(of_student, student) - _cosines_at(of_teacher, teacher)


def _cosines_at(vertex: Edges, squares: jax.Array) -> jax.Array:
    """Cosines [batch, batch] of the angles at one vertex."""
    edges, own, inverse, own_inverse = vertex
    sums = own[:, None] + edges[None, :] - squares
    return 0.5 * sums * own_inverse[:, None] * inverse[None, :]
