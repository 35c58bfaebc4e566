"""Person re-identification: queries of some cameras, found in the pictures of the others."""

import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.inputs import check_lengths, check_rows, scaled, unit
from darkrank_jax.evaluation.nearest_neighbors import nearest_neighbors
from darkrank_jax.evaluation.retrieval import NO_MATCH, same_camera, values_of_ranks

# Numbers of a table of match x identity x rank held at once, which bounds the memory.
_TABLE = 2**24
Rows = Float[np.ndarray, "_ _"] | Float[Array, "_ _"]
Labels = Int[np.ndarray, " _"]


def reid_metrics(
    queries: Rows,
    gallery: Rows,
    *,
    query_ids: Labels,
    gallery_ids: Labels,
    query_cameras: Labels,
    gallery_cameras: Labels,
    ks: Sequence[int] = (1, 5, 10, 20),
) -> dict[str, float]:
    """CMC, mAP and mINP by the Market-1501 protocol, from embeddings.

    Args:
      queries: [n, dim], finite.
      gallery: [m, dim], finite.
      query_ids: int [n], who is seen.
      gallery_ids: int [m].
      query_cameras: int [n], by which camera; -1: unknown.
      gallery_cameras: int [m], likewise.
      ks: the ranks of the CMC, from 1.

    Returns:
      Means of `reid_values` over the queries that have a match, and "queries_alone", the number of
      those that have none.

    Raises:
      UserError: no query has a match; embeddings or labels that do not fit each other or are not
        finite.

    Example:
      >>> queries, gallery = np.array([[0.0], [4.0]]), np.array([[0.1], [1.0], [2.0], [9.0]])
      >>> found = reid_metrics(
      ...     queries, gallery, ks=(1, 2),
      ...     query_ids=np.array([5, 6]), gallery_ids=np.array([5, 6, 5, 7]),
      ...     query_cameras=np.array([0, 0]), gallery_cameras=np.array([0, 1, 1, 1]),
      ... )
      >>> found["cmc_at_1"], found["cmc_at_2"], found["mean_average_precision"]
      (0.0, 1.0, 0.5)
    """
    values = reid_values(
        queries,
        gallery,
        query_ids=query_ids,
        gallery_ids=gallery_ids,
        query_cameras=query_cameras,
        gallery_cameras=gallery_cameras,
        ks=ks,
    )
    return reid_means(values)


def reid_values(
    queries: Rows,
    gallery: Rows,
    *,
    query_ids: Labels,
    gallery_ids: Labels,
    query_cameras: Labels,
    gallery_cameras: Labels,
    ks: Sequence[int] = (1, 5, 10, 20),
) -> dict[str, Float[np.ndarray, " _"]]:
    """CMC, average precision and inverse negative penalty of every query, by Market-1501's rule.

    Gallery images of the query's identity and camera are junk: left out. An unknown camera, -1, is
    no camera in common: neither a query nor a gallery image without one loses a match. With the R
    other images of the identity at ranks r_1 < ... < r_R by Euclidean distance: CMC at K =
    [r_1 <= K], AP = 1/R sum of k / r_k, INP = R / r_R. An image of another identity at the same
    distance, as far as float32 can tell, counts as nearer, whatever the order of rows. For cosine
    distances, give embeddings of length one.

    Args:
      queries: [n, dim], finite.
      gallery: [m, dim], finite.
      query_ids: int [n], who is seen.
      gallery_ids: int [m].
      query_cameras: int [n], by which camera; -1: unknown.
      gallery_cameras: int [m], likewise.
      ks: the ranks of the CMC, from 1.

    Returns:
      "cmc_at_K" for each K, "average_precision" and "inverse_negative_penalty", one value a query,
      NaN for a query without a match, which is left out.

    Raises:
      UserError: a set is empty, not finite or of another dimension, or labels do not fit it.

    Example:
      >>> values = reid_values(
      ...     np.array([[0.0]]), np.array([[1.0], [2.0], [3.0]]), ks=(1,),
      ...     query_ids=np.array([5]), gallery_ids=np.array([5, 7, 5]),
      ...     query_cameras=np.array([0]), gallery_cameras=np.array([1, 0, 2]),
      ... )
      >>> {name: value.round(3).tolist() for name, value in values.items()}
      {'cmc_at_1': [1.0], 'average_precision': [0.833], 'inverse_negative_penalty': [0.667]}

    Source: Zheng et al., Scalable person re-identification, ICCV 2015, for the protocol; Ye et al.,
    Deep learning for person re-identification, TPAMI 2021, for INP.
    """
    check_lengths(len(queries), "queries", query_ids=query_ids, query_cameras=query_cameras)
    check_lengths(
        len(gallery), "gallery images", gallery_ids=gallery_ids, gallery_cameras=gallery_cameras
    )
    return values_of_ranks(
        functools.partial(_values, ks=ks),
        queries,
        query_ids,
        gallery,
        gallery_ids,
        cameras=query_cameras,
        gallery_cameras=gallery_cameras,
    )


def reid_values_of_distances(
    distances: Float[np.ndarray, "_ _"],
    *,
    query_ids: Labels,
    gallery_ids: Labels,
    query_cameras: Labels,
    gallery_cameras: Labels,
    ks: Sequence[int] = (1, 5, 10, 20),
) -> dict[str, Float[np.ndarray, " _"]]:
    """The values of `reid_values` from distances, such as re-ranked ones.

    Args:
      distances: [n, m], finite.
      query_ids: int [n].
      gallery_ids: int [m].
      query_cameras: int [n]; -1: unknown.
      gallery_cameras: int [m], likewise.
      ks: the ranks of the CMC, from 1.

    Returns:
      What `reid_values` returns; here distances are equal only when their numbers are.

    Raises:
      UserError: distances that are not finite, labels that do not fit them.

    Example:
      >>> values = reid_values_of_distances(
      ...     np.array([[0.1, 0.2, 0.3]]), ks=(1,),
      ...     query_ids=np.array([5]), gallery_ids=np.array([5, 7, 5]),
      ...     query_cameras=np.array([0]), gallery_cameras=np.array([0, 1, 2]),
      ... )
      >>> values["average_precision"].tolist()
      [0.5]
    """
    people = _checked(distances, query_ids, gallery_ids, query_cameras, gallery_cameras)
    ranks = [_ranks_in(row, *seen) for row, *seen in _each(distances, *people)]
    totals = np.array([len(each) for each in ranks])
    table = np.full((len(ranks), max(1, totals.max())), NO_MATCH, np.int32)
    table[np.arange(table.shape[1]) < totals[:, None]] = np.concatenate(ranks)
    return _values(table, totals, ks)


def reid_means(values: dict[str, Float[np.ndarray, " _"]]) -> dict[str, float]:
    """Means of re-identification values over the queries that have a match.

    Args:
      values: of `reid_values` or `reid_values_of_distances`.

    Returns:
      "cmc_at_K", "mean_average_precision", "mean_inverse_negative_penalty" and "queries_alone".

    Raises:
      UserError: no query has a match.

    Example:
      >>> reid_means({"cmc_at_1": np.array([1.0, np.nan, 0.0])})
      {'cmc_at_1': 0.5, 'queries_alone': 1.0}
    """
    alone = np.isnan(next(iter(values.values())))
    if alone.all():
        raise UserError(
            f"gallery: none of {len(alone)} queries has an image of its identity by another "
            "camera; give one, or see whether ids and cameras are mixed up"
        )
    means = {
        f"mean_{name}" if name in _AVERAGED else name: float(np.mean(column[~alone]))
        for name, column in values.items()
    }
    return means | {"queries_alone": float(alone.sum())}


def single_shot_cmc(
    distances: Float[np.ndarray, "_ _"],
    *,
    query_ids: Labels,
    gallery_ids: Labels,
    query_cameras: Labels,
    gallery_cameras: Labels,
    ks: Sequence[int] = (1, 5, 10, 20),
) -> dict[str, float]:
    """CMC by CUHK03's single-shot protocol, where the gallery holds one image of each identity.

    The image of each identity is drawn at random, and the CMC is a mean over draws; here it is
    exact: the mean over all draws. Given the image drawn of the query's identity, another identity
    is nearer with chance p_j, the share of its images that are; the number of those nearer follows
    the law of a sum of independent coins. Same identity and camera are left out, an image at the
    same distance counts as nearer.

    Args:
      distances: [n, m], finite.
      query_ids: int [n].
      gallery_ids: int [m].
      query_cameras: int [n]; -1: unknown.
      gallery_cameras: int [m], likewise.
      ks: the ranks of the CMC, from 1.

    Returns:
      "cmc_at_K" for each K, and "queries_alone", the number of queries without a match, which are
      left out.

    Raises:
      UserError: distances that are not finite, labels that do not fit them, no query with a match.

    Example:
      >>> found = single_shot_cmc(
      ...     np.array([[0.2, 0.1, 0.3]]), ks=(1, 2),
      ...     query_ids=np.array([5]), gallery_ids=np.array([5, 7, 7]),
      ...     query_cameras=np.array([0]), gallery_cameras=np.array([1, 1, 1]),
      ... )
      >>> found["cmc_at_1"], found["cmc_at_2"]
      (0.5, 1.0)

    Source: Li et al., DeepReID, CVPR 2014. Deviation: others average 10 or 100 draws.
    """
    people = _checked(distances, query_ids, gallery_ids, query_cameras, gallery_cameras)
    _check_ks(ks)
    places = np.unique(people[1], return_inverse=True)[1]
    sizes = np.bincount(places)
    values = np.full((len(distances), len(ks)), np.nan)
    for line, (row, same, junk) in enumerate(_each(distances, *people)):
        matches = row[same & ~junk]
        if len(matches):
            others = np.flatnonzero(~same)
            chances = _nearer_chances(matches, row[others], places[others], sizes)
            values[line] = _single_shot(chances, ks)
    named = {f"cmc_at_{k}": values[:, place] for place, k in enumerate(ks)}
    return reid_means(named)


def distance_matrix(queries: Rows, gallery: Rows) -> Float[np.ndarray, "n m"]:
    """Euclidean distances of all queries to the whole gallery.

    Args:
      queries: [n, dim], finite.
      gallery: [m, dim], finite.

    Returns:
      [n, m] float32, 4 n m bytes.

    Raises:
      UserError: a set is empty, not finite or of another dimension.

    Example:
      >>> distance_matrix(np.array([[1.0]]), np.array([[0.0], [2.0], [4.0]])).tolist()
      [[1.0, 1.0, 3.0]]
    """
    (sought, points), factor = scaled(queries=queries, gallery=gallery)
    squares = np.asarray(squared_distances(jnp.asarray(sought), jnp.asarray(points)))
    return np.sqrt(squares) * np.float32(factor)


@jax.jit
def squared_distances(
    queries: Float[Array, "n dim"], gallery: Float[Array, "m dim"]
) -> Float[Array, "n m"]:
    """Squared Euclidean distances from inner products, none below 0.

    Args:
      queries: [n, dim], near the origin.
      gallery: [m, dim].

    Returns:
      [n, m].

    Example:
      >>> squared_distances(jnp.array([[1.0]]), jnp.array([[0.0], [3.0]])).tolist()
      [[1.0, 4.0]]
    """
    products = jnp.matmul(queries, gallery.T, precision=jax.lax.Precision.HIGHEST)
    lengths = jnp.sum(queries**2, axis=1)[:, None] + jnp.sum(gallery**2, axis=1)[None]
    return jnp.maximum(lengths - 2 * products, 0)


def expand_queries(
    queries: Rows, gallery: Rows, *, k: int = 10, alpha: float = 3.0
) -> Float[np.ndarray, "n dim"]:
    """Moves each query towards the gallery images nearest to it, and searches better.

    With embeddings of length one and c_i the cosine to the i-th of the k nearest:
    q' = (q + sum of max(c_i, 0)^alpha g_i) / its length; q where that sum is 0.

    Args:
      queries: [n, dim], finite, not zero.
      gallery: [m, dim], finite, not zero.
      k: number of images, 1 to m.
      alpha: 0 makes all weigh the same (average query expansion).

    Returns:
      [n, dim], of length one; they search the gallery of length one.

    Raises:
      UserError: k is out of its range, rows that are not finite or are zero.

    Example:
      >>> gallery = np.array([[0.0, 2.0], [-1.0, 0.0]])
      >>> expanded = expand_queries(np.array([[1.0, 1.0]]), gallery, k=1, alpha=0.0)
      >>> [round(float(number), 4) for number in expanded[0]]
      [0.3827, 0.9239]

    Source: Chum et al., Total recall, ICCV 2007; Radenovic, Tolias, Chum, TPAMI 2019, section 3.3,
    for alpha.
    """
    distances, indices = nearest_neighbors(queries, gallery, k=k, metric="cosine")
    own, found = (unit(np.asarray(rows, np.float32)) for rows in (queries, gallery))
    sought = own
    weights = np.maximum(1 - distances, 0) ** alpha
    for place in range(k):
        sought = sought + weights[:, place, None] * found[indices[:, place]]
    # Neighbours that cancel a query leave no direction: it stays where it is.
    cancelled = np.linalg.norm(sought, axis=1) <= 8 * k * np.finfo(np.float32).eps
    return unit(np.where(cancelled[:, None], own, sought))


_AVERAGED = ("average_precision", "inverse_negative_penalty")


def _values(ranks: np.ndarray, totals: np.ndarray, ks: Sequence[int]) -> dict[str, np.ndarray]:
    """The metrics of sorted ranks [n, most], of which the first `totals` are matches."""
    _check_ks(ks)
    place, wide = np.arange(1, ranks.shape[1] + 1), ranks.astype(np.float64)
    precision = np.where(place <= totals[:, None], place / wide, 0.0)
    last = np.take_along_axis(wide, np.maximum(totals - 1, 0)[:, None], axis=1)[:, 0]
    values = {f"cmc_at_{k}": wide[:, 0] <= k for k in ks} | {
        "average_precision": precision.sum(axis=1) / np.maximum(totals, 1),
        "inverse_negative_penalty": totals / last,
    }
    return {name: np.where(totals > 0, column, np.nan) for name, column in values.items()}


def _check_ks(ks: Sequence[int]) -> None:
    """Refuses ranks below the first."""
    if min(ks, default=1) < 1:
        raise UserError(f"ks: {min(ks)} is no rank; give 1 or more")


def _checked(distances: np.ndarray, *labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """Labels of queries and gallery, ids before cameras, if they fit the distances."""
    check_rows(distances, "distances")
    names = ("query_ids", "gallery_ids", "query_cameras", "gallery_cameras")
    for axis, name, column in zip((0, 1, 0, 1), names, labels, strict=True):
        check_lengths(distances.shape[axis], ("queries", "gallery images")[axis], **{name: column})
    return labels


def _each(
    distances: np.ndarray,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_cameras: np.ndarray,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Each query's distances, which images are of its identity, and which of those are junk."""
    for row, person, camera in zip(distances, query_ids, query_cameras[:, None], strict=True):
        same = gallery_ids == person
        yield row, same, same & same_camera(gallery_cameras, camera)


def _ranks_in(row: np.ndarray, same: np.ndarray, junk: np.ndarray) -> np.ndarray:
    """The ranks of one query's matches, ascending; what is at the same distance comes before."""
    matches, negatives = np.sort(row[same & ~junk]), np.sort(row[~same])
    nearer = np.searchsorted(negatives, matches, side="right")
    return np.arange(1, len(matches) + 1) + nearer


def _nearer_chances(
    matches: np.ndarray, others: np.ndarray, places: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """[matches, identities]: chance that the image drawn of another identity is as near."""
    order = np.argsort(others, kind="stable")
    # An image counts for the first match, in ascending order, that is no nearer than it.
    rank = np.argsort(matches, kind="stable")
    first = np.searchsorted(matches[rank], others[order], side="left")
    counts = np.zeros((len(matches) + 1, len(sizes)))
    np.add.at(counts, (first, places[order]), 1.0)
    return np.cumsum(counts, axis=0)[:-1] / sizes


def _single_shot(chances: np.ndarray, ks: Sequence[int]) -> np.ndarray:
    """Chance of a rank of at most K, as a mean over the images drawn of the query's identity."""
    most = min(max(ks), chances.shape[1])
    # law[:, i]: chance that i identities are nearer, as one after the other is drawn.
    law = np.zeros((len(chances), most))
    law[:, 0] = 1.0
    for chance in chances.T[chances.any(axis=0)]:
        law[:, 1:] = law[:, 1:] * (1 - chance[:, None]) + law[:, :-1] * chance[:, None]
        law[:, 0] *= 1 - chance
    return np.array([law[:, :k].sum(axis=1).mean() for k in ks])
