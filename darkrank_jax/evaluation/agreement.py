"""Whether a student ranks as its teacher does, which is what DarkRank trains it for."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.gallery_rows import Rows
from darkrank_jax.evaluation.inputs import alike
from darkrank_jax.evaluation.retrieval import values_of_ranks

# Queries whose distances are held at once, which bounds the memory.
QUERIES = 64


def rank_agreement(
    student: Rows, teacher: Rows, *, ks: Sequence[int] = (1, 5, 10, 50)
) -> dict[str, float]:
    """How far the student's lists of nearest images are the teacher's, as a mean over queries.

    Each image searches all the others, by Euclidean distance in either space. At each K:
    overlap = share of the teacher's first K that are among the student's first K; Kendall's tau
    (b) and Spearman's rho = how far the student orders the teacher's first K as the teacher does,
    -1 (reversed) to 1 (the same).

    Equal distances, as far as float32 can tell, are no order: images that share the last places of
    the first K count in parts, so that the overlap is what breaking ties at random would give when
    one list has them; for tau and rho they are ties, and a list all of ties agrees with none: 0.
    Which of several images at the K-th distance tau and rho look at, the order of rows decides.

    Args:
      student: [n, dim], finite.
      teacher: [n, any dim], finite, of the same images in the same order.
      ks: lengths of list, from 1; those that exceed the n - 1 other images are left out.

    Returns:
      "overlap_at_K" for each K, and "kendall_tau_at_K", "spearman_at_K" for each K above 1.

    Raises:
      UserError: embeddings that are not finite, or are not of as many images, or of one alone.

    Example:
      >>> teacher = np.array([[0.0], [1.0], [3.0], [7.0]])
      >>> student = np.array([[0.0], [1.0], [-4.0], [7.0]])
      >>> found = rank_agreement(student, teacher, ks=(1, 3))
      >>> found["overlap_at_1"], round(found["kendall_tau_at_3"], 4)
      (0.5, 0.5)

    Source: Kendall, Biometrika, 1945, for tau-b.
    """
    known = [k for k in ks if k < len(student)]
    overlaps, orders = _agreement(student, teacher, tuple(known))
    scores = {f"overlap_at_{k}": value for k, value in zip(known, overlaps.tolist(), strict=True)}
    for k, (tau, rho) in zip(known, orders.tolist(), strict=True):
        if k > 1:
            scores |= {f"kendall_tau_at_{k}": tau, f"spearman_at_{k}": rho}
    return scores


def cross_recall(
    queries: Rows,
    gallery: Rows,
    query_labels: Int[np.ndarray, " _"],
    gallery_labels: Int[np.ndarray, " _"] | None = None,
    *,
    ks: Sequence[int] = (1, 2, 4, 8),
) -> dict[str, float]:
    """Recall@K of one network's queries in the gallery of another.

    A student that copies the teacher's space can search a gallery which the teacher has embedded,
    so that the gallery need not be embedded again.

    Args:
      queries: [n, dim], finite, by the student.
      gallery: [m, dim], finite, by the teacher.
      query_labels: int [n].
      gallery_labels: int [m]; None: the same images in the same order, each left out of its own
        gallery.
      ks: the K of Recall@K.

    Returns:
      "recall_at_K" for each K; queries without a match miss where the images are the same, and are
      left out otherwise, as in `retrieval_values`.

    Raises:
      UserError: the spaces differ in dimension; a set is empty or not finite; labels do not fit.

    Example:
      >>> gallery = np.array([[0.0], [1.0], [5.0], [6.0]])
      >>> cross_recall(gallery + 0.2, gallery, np.array([0, 0, 1, 1]), ks=(1,))
      {'recall_at_1': 1.0}
    """
    same = gallery_labels is None
    known = query_labels if gallery_labels is None else gallery_labels
    found = values_of_ranks(
        lambda ranks, totals: {"first": ranks[:, 0], "matches": totals},
        queries,
        query_labels,
        gallery,
        known,
        exclude_self=same,
    )
    counted = found["first"] if same else found["first"][found["matches"] > 0]
    if not counted.size:
        raise UserError("labels: no query has an image of its class in the gallery; give one")
    return {f"recall_at_{k}": float(np.mean(counted <= k)) for k in ks}


def _agreement(student: Rows, teacher: Rows, ks: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Overlap [K], and tau and rho [K, 2], as means over queries."""
    if len(student) != len(teacher):
        raise UserError(
            f"student: {len(student)} embeddings are not of the teacher's {len(teacher)} images; "
            "embed the same images in the same order"
        )
    if not ks or min(ks) < 1:
        raise UserError(
            f"ks: no list of {ks} images can be had from {len(teacher)}; give 1 to "
            f"{len(teacher) - 1}"
        )
    spaces = alike(student=student) + alike(teacher=teacher)
    rows = np.arange(len(teacher))
    tiles = np.array_split(rows, -(-len(rows) // QUERIES))
    ours, theirs = map(jnp.asarray, spaces)
    found = [tile_agreement(tile, ours, theirs, ks=ks) for tile in tiles]
    overlaps, agreements = (
        np.concatenate([np.asarray(part[i], np.float64) for part in found]) for i in (0, 1)
    )
    return overlaps.mean(axis=0), agreements.mean(axis=0)


class _Space(NamedTuple):
    """What the queries of a tile see in one space."""

    squares: jax.Array  # [queries, n] squared distances, infinite to the query itself
    rounding: jax.Array  # [queries, n] their rounding errors
    nearest: jax.Array  # [queries, longest] the smallest, ascending
    items: jax.Array  # [queries, longest] where they are


@functools.partial(jax.jit, static_argnames="ks")
def tile_agreement(
    tile: jax.Array, student: jax.Array, teacher: jax.Array, *, ks: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """Overlap [queries, K], and tau and rho [queries, K, 2], of a tile of queries."""
    ours, theirs = (_search(tile, points, max(ks)) for points in (student, teacher))
    overlaps = [jnp.sum(jnp.minimum(_share(ours, k), _share(theirs, k)), axis=1) / k for k in ks]
    signs = [_signs(space, theirs.items) for space in (ours, theirs)]
    agreements = [_correlations(*(order[:, :k, :k] for order in signs)) for k in ks]
    return jnp.stack(overlaps, axis=1), jnp.stack(agreements, axis=1)


def _search(tile: jax.Array, points: jax.Array, longest: int) -> _Space:
    """All distances from the queries of a tile, and the nearest images."""
    lengths = jnp.sum(points**2, axis=1)
    products = jnp.matmul(points[tile], points.T, precision=jax.lax.Precision.HIGHEST)
    reach = lengths[tile][:, None] + lengths[None]
    squares = (reach - 2 * products).at[jnp.arange(len(tile)), tile].set(jnp.inf)
    nearest, items = jax.lax.top_k(-squares, longest)
    return _Space(squares, 8 * jnp.finfo(squares.dtype).eps * reach, -nearest, items)


def _share(space: _Space, k: int) -> jax.Array:
    """How far each image [queries, n] is among the first k: 0 to 1, in sum k."""
    last = space.nearest[:, k - 1][:, None]
    within = space.squares < last - space.rounding
    tied = jnp.abs(space.squares - last) <= space.rounding
    open_places = k - jnp.sum(within, axis=1, keepdims=True)
    return within + tied * (open_places / jnp.sum(tied, axis=1, keepdims=True))


def _signs(space: _Space, items: jax.Array) -> jax.Array:
    """[queries, k, k]: 1 where the first item is farther than the second, -1 nearer, 0 tied."""
    squares, rounding = (
        jnp.take_along_axis(column, items, axis=1) for column in (space.squares, space.rounding)
    )
    gaps = squares[:, :, None] - squares[:, None]
    allowed = jnp.maximum(rounding[:, :, None], rounding[:, None])
    return jnp.where(jnp.abs(gaps) <= allowed, 0.0, jnp.sign(gaps))


def _correlations(ours: jax.Array, theirs: jax.Array) -> jax.Array:
    """Tau and rho [queries, 2] from the signs of all pairs; their sums are ranks about the mean."""
    return jnp.stack(
        [
            _cosine(ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1)),
            _cosine(jnp.sum(ours, axis=2), jnp.sum(theirs, axis=2)),
        ],
        axis=1,
    )


def _cosine(first: jax.Array, second: jax.Array) -> jax.Array:
    """Cosine of rows; 0 where one is zero."""
    squares = jnp.sum(first**2, axis=1) * jnp.sum(second**2, axis=1)
    return jnp.sum(first * second, axis=1) / jnp.sqrt(jnp.where(squares > 0, squares, 1))
