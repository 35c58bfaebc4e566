"""Person re-identification: queries of some cameras, found in the images of other cameras."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.gallery_rows import Rows
from darkrank_jax.evaluation.inputs import check_lengths, check_rows
from darkrank_jax.evaluation.retrieval import NO_MATCH, same_camera, values_of_ranks

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
    is nearer with chance p_j, the share of its images that are nearer; the number of nearer
    identities is distributed as a sum of independent coins. Same identity and camera are left out,
    an image at the same distance counts as nearer.

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
        raise UserError(f"ks: must be ranks of 1 or more (got {min(ks)})")


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
    # pmf[:, i]: chance that i identities are nearer, as one after the other is drawn.
    pmf = np.zeros((len(chances), most))
    pmf[:, 0] = 1.0
    for chance in chances.T[chances.any(axis=0)]:
        pmf[:, 1:] = pmf[:, 1:] * (1 - chance[:, None]) + pmf[:, :-1] * chance[:, None]
        pmf[:, 0] *= 1 - chance
    return np.array([pmf[:, :k].sum(axis=1).mean() for k in ks])
