"""Relational knowledge distillation: the student copies the teacher's distances and angles."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from darkrank_jax.losses.internals.devices import on_any_mesh
from darkrank_jax.losses.internals.tiles import map_rows, tiled, untiled
from darkrank_jax.losses.masks import other_mask, pair_mask, teacher_student_rows
from darkrank_jax.losses.pairwise import (
    distances,
    inner_products,
    safe_divide,
    safe_sqrt,
    squared_distances,
)
from darkrank_jax.losses.reductions import ReduceFn, apply_reduction, mean, row_means

# Of vertices: squared lengths of their edges and inverse lengths, each as rows of its matrix and as
# columns. They are equal, but where rows lie on several devices, each device has its own part of
# every column; and XLA makes a faster loop of the two on a CPU.
Edges = tuple[jax.Array, jax.Array, jax.Array, jax.Array]


@on_any_mesh
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
    student, teacher, valid = teacher_student_rows(
        student_embeddings, teacher_embeddings, where, weights
    )
    others = other_mask(valid)
    student, teacher = (
        safe_divide(lengths, mean(lengths, where=others))
        for lengths in (distances(student), distances(teacher))
    )
    values = row_means(_smooth_l1(student - teacher), pair_mask(valid))
    return apply_reduction(reduce_fn, values, valid, weights)


@on_any_mesh
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
    student, teacher, valid = teacher_student_rows(
        student_embeddings, teacher_embeddings, where, weights
    )
    dtype = jnp.promote_types(student.dtype, teacher.dtype)
    squares = (squared_distances(rows).astype(dtype) for rows in (student, teacher))
    values = _angle_losses(*squares, valid)
    return apply_reduction(reduce_fn, values, valid, weights)


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
        inverse = jnp.where(pair_mask(valid), inverse, 0)
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
