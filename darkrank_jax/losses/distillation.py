"""A student's outputs against the teacher's, each image by itself."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from darkrank_jax.losses.internals.checks import check_arrays, check_positive, check_range
from darkrank_jax.losses.internals.devices import on_any_mesh
from darkrank_jax.losses.masks import valid_rows
from darkrank_jax.losses.pairwise import normalize, zero_rows
from darkrank_jax.losses.reductions import ReduceFn, apply_reduction, mean


@on_any_mesh
def kd_loss(
    student_logits: jax.Array,
    teacher_logits: jax.Array,
    *,
    temperature: float = 4.0,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Knowledge distillation: the student copies the teacher's probabilities of the classes.

    T^2 KL(softmax(teacher / T) || softmax(student / T)), mean over the batch

    Args:
      student_logits: [batch, classes], finite: -inf gives NaN, -1e30 leaves a class out.
      teacher_logits: [batch, classes], finite; no gradient.
      temperature: T, positive; the higher, the more the unlikely classes count.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row; None: 1.
      reduce_fn: reduces one value for each row, see `reductions`.

    Returns:
      Scalar, not negative; 0 when both probabilities are the same.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a temperature that is not positive.

    Example:
      >>> student, teacher = jnp.array([[0.0, 1.0]]), jnp.array([[3.0, 0.0]])
      >>> round(float(kd_loss(student, teacher, temperature=2.0)), 4)
      1.6313

    Source: Hinton, Vinyals, Dean, Distilling the knowledge in a neural network, 2015.
    """
    check_arrays(
        student_logits=(student_logits, "float", "batch classes"),
        teacher_logits=(teacher_logits, "float", "batch classes"),
        where=(where, "bool", "batch"),
        weights=(weights, "float", "batch"),
    )
    check_positive(temperature=temperature)
    valid = valid_rows(student_logits.shape[0], where)
    student, teacher = (
        jax.nn.log_softmax(zero_rows(logits, valid) / temperature)
        for logits in (student_logits, jax.lax.stop_gradient(teacher_logits))
    )
    values = temperature**2 * (jnp.exp(teacher) * (teacher - student)).sum(-1)
    return apply_reduction(reduce_fn, values, valid, weights)


@on_any_mesh
def embedding_match_loss(
    student_embeddings: jax.Array,
    teacher_embeddings: jax.Array,
    *,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """The student puts every image where the teacher puts it.

    ||student_i - teacher_i||^2, mean over the batch

    Absolute where the relational losses are not, so student and teacher then share one index.

    Args:
      student_embeddings: [batch, dim], floating, used as given.
      teacher_embeddings: [batch, dim], floating; no gradient.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row; None: 1.
      reduce_fn: reduces one value for each row, see `reductions`.

    Returns:
      Scalar, not negative; 0 when the embeddings are the same.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree; embeddings of unlike dim need a layer between.

    Example:
      >>> print(embedding_match_loss(jnp.array([[0.0, 1.0]]), jnp.array([[2.0, 0.0]])))
      5.0

    Source: Kim et al., EmbedDistill, 2023, squared.
    """
    check_arrays(
        student_embeddings=(student_embeddings, "float", "batch dim"),
        teacher_embeddings=(teacher_embeddings, "float", "batch dim"),
        where=(where, "bool", "batch"),
        weights=(weights, "float", "batch"),
    )
    squares, valid = _squared_errors(student_embeddings, teacher_embeddings, where)
    return apply_reduction(reduce_fn, squares.sum(-1), valid, weights)


@on_any_mesh
def fitnet_loss(
    student_features: jax.Array,
    teacher_features: jax.Array,
    *,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Hints: the student copies the teacher's features.

    (student - teacher)^2, mean over the features, then over the batch

    Args:
      student_features: [batch, ...], floating, through a layer of its own where shapes differ.
      teacher_features: [batch, ...], floating, of the same shape; no gradient.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row; None: 1.
      reduce_fn: reduces one value for each row, see `reductions`.

    Returns:
      Scalar, not negative; 0 when the features are the same.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree.

    Example:
      >>> print(fitnet_loss(jnp.array([[0.0, 1.0]]), jnp.array([[2.0, 0.0]])))
      2.5

    Source: Romero et al., FitNets, ICLR 2015, a mean instead of half the sum.
    """
    check_arrays(
        student_features=(student_features, "float", "batch ..."),
        teacher_features=(teacher_features, "float", "batch ..."),
        where=(where, "bool", "batch"),
        weights=(weights, "float", "batch"),
    )
    squares, valid = _squared_errors(student_features, teacher_features, where)
    values = squares.reshape(valid.shape[0], -1).mean(-1)
    return apply_reduction(reduce_fn, values, valid, weights)


@on_any_mesh
def attention_transfer_loss(
    student_maps: jax.Array | Sequence[jax.Array],
    teacher_maps: jax.Array | Sequence[jax.Array],
    *,
    power: float = 2,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """The student looks where the teacher looks.

    (A(student) - A(teacher))^2 with A(map) = mean over channels of |map|^p, flattened and
    L2-normalised; mean over places, sum over stages, mean over the batch

    Args:
      student_maps: [batch, height, width, channels], floating, or a sequence of such, one a stage.
      teacher_maps: the same number of maps; channels may differ; no gradient.
      power: p, at least 1.
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row; None: 1.
      reduce_fn: reduces one value for each row, see `reductions`.

    Returns:
      Scalar, not negative; 0 when the attention is the same.

    Raises:
      TypeError: an array of another kind.
      ValueError: another number of maps, shapes that disagree, a power below 1.

    Example:
      >>> maps = jnp.arange(8.0).reshape(1, 2, 2, 2)
      >>> round(float(attention_transfer_loss(maps, maps[..., :1] + 1)), 4)
      0.0003

    Source: Zagoruyko and Komodakis, Paying more attention to attention, ICLR 2017; the mean
    over places is that of common code.
    """
    check_range("power", power, 1)
    students, teachers = (
        tuple(maps) if isinstance(maps, Sequence) else (maps,)
        for maps in (student_maps, teacher_maps)
    )
    if len(students) != len(teachers):
        raise ValueError(
            f"teacher_maps: got {len(teachers)} maps, expected {len(students)} as in student_maps"
        )
    values = []
    for student, teacher in zip(students, teachers, strict=True):
        check_arrays(
            student_maps=(student, "float", "batch height width channels"),
            teacher_maps=(teacher, "float", "batch height width teacher_channels"),
            where=(where, "bool", "batch"),
            weights=(weights, "float", "batch"),
        )
        valid = valid_rows(student.shape[0], where)
        student = _attention(zero_rows(student, valid), power)
        teacher = _attention(jax.lax.stop_gradient(zero_rows(teacher, valid)), power)
        values.append(jnp.square(student - teacher).mean(-1))
    rows = valid_rows(values[0].shape[0], where)
    return apply_reduction(reduce_fn, sum(values[1:], values[0]), rows, weights)


def _squared_errors(student, teacher, where) -> tuple[jax.Array, jax.Array]:
    """(student - teacher)^2 of every component, and the rows that count."""
    valid = valid_rows(student.shape[0], where)
    teacher = jax.lax.stop_gradient(zero_rows(teacher, valid))
    return jnp.square(zero_rows(student, valid) - teacher), valid


def _attention(maps: jax.Array, power: float) -> jax.Array:
    """Where a map is strong: unit vectors [batch, places]."""
    strength = (jnp.abs(maps) ** power).mean(-1)
    return normalize(strength.reshape(maps.shape[0], -1))
