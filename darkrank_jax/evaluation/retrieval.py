"""Retrieval metrics of a set against itself, or of queries against a gallery."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.gallery_rows import Rows
from darkrank_jax.evaluation.inputs import alike, check_classes, check_lengths
from darkrank_jax.losses.internals.sorting import argsort, sort

# Queries whose distances are held at once, which bounds the memory.
QUERIES = 128
# Matches of a query whose negatives are counted for each of them; more take a sort.
COUNTED = 64
# Matches up to which all tiles have one shape.
WIDTH = 1024
# The rank of what is no match, behind every rank there is.
NO_MATCH = np.iinfo(np.int32).max
ValuesOf = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]


def retrieval_metrics(
    embeddings: Rows,
    labels: Int[np.ndarray, " _"],
    *,
    ks: Sequence[int] = (1, 2, 4, 8),
    gallery: Rows | None = None,
    gallery_labels: Int[np.ndarray, " _"] | None = None,
) -> dict[str, float]:
    """Means of `retrieval_values` over the queries, and how many queries have no match.

    Args:
      embeddings: [n, dim], finite: the queries.
      labels: int [n].
      ks: the K of Recall@K.
      gallery: [m, dim], finite; None: each embedding searches all the others.
      gallery_labels: int [m], with a gallery.

    Returns:
      The metrics of `retrieval_values`, 0 where no query has a match, and "queries_alone", the
      number of queries without a match in what they search.

    Raises:
      UserError: what `retrieval_values` refuses.

    Example:
      >>> embeddings = np.array([[0.0], [1.0], [2.5], [2.6], [6.0]], np.float32)
      >>> scores = retrieval_metrics(embeddings, np.array([0, 0, 1, 0, 1]), ks=(1, 2))
      >>> scores["recall_at_1"], scores["recall_at_2"], round(scores["map_at_r"], 4)
      (0.4, 0.8, 0.25)
    """
    values = retrieval_values(
        embeddings, labels, ks=ks, gallery=gallery, gallery_labels=gallery_labels
    )
    alone = np.isnan(values["map_at_r"])
    known = {name: column[~np.isnan(column)] for name, column in values.items()}
    means = {name: float(np.mean(rest)) if rest.size else 0.0 for name, rest in known.items()}
    return means | {"queries_alone": float(alone.sum())}


def retrieval_values(
    embeddings: Rows,
    labels: Int[np.ndarray, " _"],
    *,
    ks: Sequence[int] = (1, 2, 4, 8),
    gallery: Rows | None = None,
    gallery_labels: Int[np.ndarray, " _"] | None = None,
) -> dict[str, Float[np.ndarray, " _"]]:
    """Recall@K, MAP@R, R-precision, AP, reciprocal rank and NDCG of every query.

    With the R gallery images of the query's class at ranks r_1 < ... < r_R by Euclidean distance:
    Recall@K = [r_1 <= K]; MAP@R = 1/R sum over r_k <= R of k / r_k; R-precision = share of r_k
    <= R; AP = 1/R sum of k / r_k; reciprocal rank = 1 / r_1; NDCG = sum of 1 / log2(1 + r_k) over
    sum of 1 / log2(1 + k).

    One set against itself: a query is left out of its own gallery by index, never by distance. An
    image of another class at the same distance, as far as float32 can tell, counts as nearer,
    whatever the order of rows: embeddings that all collapse to one point score as badly as they
    are. A query without any match is left out, except that it counts as a miss for Recall@K where
    one set searches itself, as is usual.

    Args:
      embeddings: [n, dim], finite: the queries.
      labels: int [n].
      ks: the K of Recall@K, from 1.
      gallery: [m, dim], finite; None: each embedding searches all the others.
      gallery_labels: int [m], with a gallery.

    Returns:
      One value a query, NaN for a query that is left out, of "recall_at_K" for each K,
      "precision_at_1", "map_at_r", "r_precision", "mean_average_precision",
      "mean_reciprocal_rank", "ndcg".

    Raises:
      UserError: no embeddings, embeddings that are not finite, labels of another length, a K below
        1, a gallery without labels, or of another dimension, and a set of one class, where every
        answer would be right.

    Example:
      >>> queries, gallery = np.array([[0.0], [9.0]]), np.array([[1.0], [2.0], [8.0]])
      >>> labels = {"labels": np.array([3, 5]), "gallery_labels": np.array([4, 3, 3])}
      >>> values = retrieval_values(queries, gallery=gallery, **labels, ks=(2,))
      >>> values["recall_at_2"].tolist(), values["mean_average_precision"].round(4).tolist()
      ([1.0, nan], [0.5833, nan])

    Source: Musgrave, Belongie, Lim, A metric learning reality check, ECCV 2020, section 3.2;
    Jarvelin and Kekalainen, TOIS 2002, for NDCG, here with equal gains.
    """
    if (gallery is None) != (gallery_labels is None):
        raise UserError("gallery: goes with gallery_labels; give both or neither")
    values_of = functools.partial(_values, ks=ks)
    if gallery is not None and gallery_labels is not None:
        return values_of_ranks(values_of, embeddings, labels, gallery, gallery_labels)
    check_classes(labels)
    values = values_of_ranks(values_of, embeddings, labels, embeddings, labels, exclude_self=True)
    return values | {f"recall_at_{k}": np.nan_to_num(values[f"recall_at_{k}"]) for k in ks}


def values_of_ranks(
    values_of: ValuesOf,
    queries: Rows,
    labels: Int[np.ndarray, " _"],
    gallery: Rows,
    gallery_labels: Int[np.ndarray, " _"],
    *,
    exclude_self: bool = False,
    cameras: Int[np.ndarray, " _"] | None = None,
    gallery_cameras: Int[np.ndarray, " _"] | None = None,
) -> dict[str, Shaped[np.ndarray, " n"]]:
    """Values of every query, from the ranks of the gallery images that are of its class.

    Cost: n m distances, 128 m of them at once; for a query with R matches R m comparisons, or
    from 64 matches on a sort, m log m. The ranks of 128 queries are held at once.

    Args:
      values_of: of (ranks int [q, most] from 1, ascending, each line filled up with NO_MATCH, and
        totals int [q], how many ranks stand in each line): name -> value of each of the q queries.
      queries: [n, dim], finite.
      labels: int [n].
      gallery: [m, dim], finite.
      gallery_labels: int [m].
      exclude_self: leave row i of the gallery out for query i.
      cameras: int [n]; gallery images of the query's class and camera are left out. -1 is unknown
        and no camera in common.
      gallery_cameras: int [m], with `cameras`.

    Returns:
      The values of all queries by name.

    Raises:
      UserError: a set is empty, not finite or of another dimension, or labels do not fit it.

    Example:
      >>> queries, gallery = np.array([[0.0], [4.0]]), np.array([[1.0], [2.0], [3.0]])
      >>> labels, gallery_labels = np.array([7, 5]), np.array([7, 5, 7])
      >>> def first_and_last(ranks, totals):
      ...     return {"first": ranks[:, 0], "last": ranks[np.arange(len(ranks)), totals - 1]}
      >>> values = values_of_ranks(first_and_last, queries, labels, gallery, gallery_labels)
      >>> values["first"].tolist(), values["last"].tolist()
      ([1, 2], [3, 2])
    """
    check_lengths(len(queries), labels=labels)
    check_lengths(len(gallery), "gallery images", gallery_labels=gallery_labels)
    if gallery is queries:
        (points,) = alike(embeddings=queries)
        sought = points
    else:
        sought, points = alike(queries=queries, gallery=gallery)
    rows, starts, counts = _members(np.asarray(labels), np.asarray(gallery_labels))
    device_points = jnp.asarray(points)
    lengths = jnp.sum(device_points**2, axis=1)
    found = []
    # Queries of classes of like size go together: the largest class decides how long they take.
    order = np.argsort(counts, kind="stable")
    searched: tuple[np.ndarray, jax.Array] | None = None
    for tile in np.array_split(order, -(-len(order) // QUERIES)):
        most = int(counts[tile].max())
        place = np.arange(_width(most, int(counts.max())))
        positives = np.where(
            place < counts[tile][:, None],
            rows[np.minimum(starts[tile][:, None] + place, len(rows) - 1)],
            -1,
        )
        valid = positives >= 0
        if exclude_self:
            valid &= positives != tile[:, None]
        if cameras is not None and gallery_cameras is not None:
            valid &= ~same_camera(cameras[tile][:, None], gallery_cameras[positives])
        # One tile is prepared while the one before is searched.
        ranks = positive_ranks(sought[tile], device_points, lengths, positives, valid, most)
        if searched:
            found.append(_evaluated(values_of, *searched))
        searched = tile, ranks
    assert searched
    found.append(_evaluated(values_of, *searched))
    back = np.argsort(order, kind="stable")
    return {name: np.concatenate([part[name] for part in found])[back] for name in found[0]}


def same_camera(
    first: Int[np.ndarray, "..."], second: Int[np.ndarray, "..."]
) -> Bool[np.ndarray, "..."]:
    """Which images are known to be of one camera; -1 is an unknown camera.

    Args:
      first: int [...], numbers of cameras.
      second: int, of a shape that broadcasts with that of `first`.

    Returns:
      bool [...], broadcast.

    Example:
      >>> same_camera(np.array([0, 0, -1]), np.array([0, 1, -1])).tolist()
      [True, False, False]
    """
    return (first == second) & (first != -1)


def _evaluated(values_of: ValuesOf, tile: np.ndarray, ranks: jax.Array) -> dict[str, np.ndarray]:
    """Values of the queries of a tile."""
    ordered = np.sort(np.asarray(ranks), axis=1)
    return values_of(ordered, np.sum(ordered < NO_MATCH, axis=1))


def _width(most: int, largest: int) -> int:
    """Columns for classes of up to `most` images, such that few shapes are compiled."""
    return min(max(WIDTH, 1 << (most - 1).bit_length()), max(1, largest))


def _members(
    labels: np.ndarray, gallery_labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gallery rows by class; where those of each query's class start, and how many there are."""
    known, classes = np.unique(labels, return_inverse=True)
    places = np.minimum(np.searchsorted(known, gallery_labels), len(known) - 1)
    rows = np.flatnonzero(known[places] == gallery_labels)
    counts = np.bincount(places[rows], minlength=len(known))
    ordered = rows[np.argsort(places[rows], kind="stable")]
    starts = np.cumsum(counts) - counts
    # An entry even where no class is in the gallery, which none of the queries takes.
    return np.append(ordered, -1), starts[classes], counts[classes]


@jax.jit
def positive_ranks(
    queries: jax.Array,
    gallery: jax.Array,
    lengths: jax.Array,
    positives: jax.Array,
    valid: jax.Array,
    most: jax.Array,
) -> jax.Array:
    """Ranks [queries, class size] of the valid among the positives, which are `most` at most."""
    # Twice the inner product less the squared length ranks as the distance does.
    products = jnp.matmul(queries, gallery.T, precision=jax.lax.Precision.HIGHEST)
    nearness = 2 * products - lengths[None]
    matched = jnp.take_along_axis(nearness, jnp.maximum(positives, 0), axis=1)
    matched = jnp.where(valid, matched, -jnp.inf)
    # The class's images, the query too, are no negatives; -1 falls outside and is dropped.
    places = jnp.where(positives >= 0, positives, gallery.shape[0])
    line = jnp.arange(len(queries))[:, None]
    negatives = nearness.at[line, places].set(-jnp.inf, mode="drop")
    reach = jnp.sum(queries**2, axis=1)[:, None] + lengths[positives]
    bounds = matched - 8 * jnp.finfo(nearness.dtype).eps * reach
    # The nearest first; what is not valid comes last.
    order = argsort(-matched)
    bounds, valid = (jnp.take_along_axis(column, order, axis=1) for column in (bounds, valid))
    nearer = _count_nearer(negatives, bounds, most)
    return jnp.where(valid, 1 + nearer + jnp.arange(bounds.shape[1])[None], NO_MATCH)


def _count_nearer(negatives: jax.Array, bounds: jax.Array, most: jax.Array) -> jax.Array:
    """How many negatives [queries, m] are not below each bound, of which the first `most` count."""

    # One bound after the other: seen all at once, they take ten times as long on a CPU. Floats,
    # which count to 2^24 and which it adds faster.
    def count(column: jax.Array, nearer: jax.Array) -> jax.Array:
        farther = negatives >= bounds[:, column][:, None]
        return nearer.at[:, column].set(jnp.sum(farther.astype(jnp.float32), axis=1))

    def one_by_one() -> jax.Array:
        nothing = jnp.zeros(bounds.shape, jnp.float32)
        return jax.lax.fori_loop(0, most, count, nothing).astype(jnp.int32)

    def by_sorting() -> jax.Array:
        below = jax.vmap(jnp.searchsorted)(sort(negatives), bounds)
        return negatives.shape[1] - below.astype(jnp.int32)

    if bounds.shape[1] <= COUNTED:
        return one_by_one()
    return jax.lax.cond(most <= COUNTED, one_by_one, by_sorting)


def _values(ranks: np.ndarray, totals: np.ndarray, ks: Sequence[int]) -> dict[str, np.ndarray]:
    """The metrics of sorted ranks [n, class size], of which the first `totals` are matches."""
    if min(ks, default=1) < 1:
        raise UserError(f"ks: must be numbers of answers, 1 or more (got {min(ks)})")
    place, ranks = np.arange(1, ranks.shape[1] + 1), ranks.astype(np.float64)
    real = place <= totals[:, None]
    within = ranks <= totals[:, None]
    precision = np.where(real, place / ranks, 0.0)
    gains = np.where(real, 1 / np.log2(1 + ranks), 0.0).sum(axis=1)
    ideal = np.where(real, 1 / np.log2(1.0 + place), 0.0).sum(axis=1)
    share = np.maximum(totals, 1)
    values = {f"recall_at_{k}": ranks[:, 0] <= k for k in ks} | {
        "precision_at_1": ranks[:, 0] == 1,
        "map_at_r": (precision * within).sum(axis=1) / share,
        "r_precision": within.sum(axis=1) / share,
        "mean_average_precision": precision.sum(axis=1) / share,
        "mean_reciprocal_rank": 1 / ranks[:, 0],
        "ndcg": gains / np.where(totals > 0, ideal, 1.0),
    }
    return {name: np.where(totals > 0, column, np.nan) for name, column in values.items()}
