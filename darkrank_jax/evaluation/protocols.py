"""Protocols beside plain search: re-ranking, expansion, single shot, verification, prefixes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from darkrank_jax.data.split import UNKNOWN_CAMERA
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.distances import distance_matrix
from darkrank_jax.evaluation.inputs import unit
from darkrank_jax.evaluation.query_expansion import expand_queries
from darkrank_jax.evaluation.reid import (
    reid_means,
    reid_metrics,
    reid_values,
    reid_values_of_distances,
    single_shot_cmc,
)
from darkrank_jax.evaluation.reranking import rerank
from darkrank_jax.evaluation.retrieval import retrieval_metrics
from darkrank_jax.evaluation.verification import verification_metrics

# Pairs whose cosines are computed at once.
_PAIRS = 1 << 16
# Entries of a protocol's metrics that are numbers of images, not shares.
COUNTS = ("queries_alone", "distractors")


class Embedded(NamedTuple):
    """A network's embeddings of a set of images.

    Attributes:
      embeddings: [n, dim].
      labels: int [n].
      cameras: int [n], -1 where unknown; None: all are.
      queries: bool [n], which search, and the others are the gallery; None: each searches all
        others.
      distractors: [m, dim], embeddings of further images of the gallery, which are never right;
        None: no such image.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    cameras: np.ndarray | None = None
    queries: np.ndarray | None = None
    distractors: np.ndarray | None = None


def across_cameras(images: Embedded) -> dict[str, float]:
    """`reid_metrics` by the Market-1501 rule; without queries every image searches all others.

    Args:
      images: with cameras, or with queries.

    Returns:
      "cmc_at_K", "mean_average_precision", "mean_inverse_negative_penalty", "queries_alone", and
      "distractors", their number, where there are any.

    Raises:
      UserError: no query has a match; there are distractors, and no image is marked as a query.
    """
    return _counted(reid_means(values_across_cameras(images)), images)


def values_across_cameras(images: Embedded) -> dict[str, np.ndarray]:
    """`reid_values` by the Market-1501 rule; without queries every image searches all others.

    Args:
      images: with cameras, or with queries.

    Returns:
      The values of `reid_values`, one for each image that searches.

    Raises:
      UserError: there are distractors, and no image is marked as a query.

    Example:
      >>> points = np.array([[0.0], [0.1], [2.0], [-1.0]])
      >>> people, cameras = np.array([3, 3, 3, 5]), np.array([0, 0, 1, 1])
      >>> values_across_cameras(Embedded(points, people, cameras))["cmc_at_1"].tolist()
      [0.0, 0.0, 1.0, nan]
    """
    if images.queries is None and images.distractors is None:
        assert images.cameras is not None
        # An image of unknown camera must not find itself: each has a camera of its own.
        own = np.arange(len(images.cameras)) + images.cameras.max() + 1
        cameras = np.where(images.cameras == UNKNOWN_CAMERA, own, images.cameras)
        return reid_values(
            images.embeddings,
            images.embeddings,
            query_ids=images.labels,
            gallery_ids=images.labels,
            query_cameras=cameras,
            gallery_cameras=cameras,
        )
    queries, gallery, people = _search(images, "across_cameras")
    return reid_values(queries, gallery, **people)


def reranking(
    images: Embedded, *, k1: int = 20, k2: int = 6, weight: float = 0.3
) -> dict[str, float]:
    """`reid_metrics` by the distances of `rerank`.

    Args:
      images: of which some are queries.
      k1: see `rerank`.
      k2: likewise.
      weight: likewise.

    Returns:
      "cmc_at_K", "mean_average_precision", "mean_inverse_negative_penalty".

    Raises:
      UserError: no image is marked as a query; an option is out of its range.
    """
    queries, gallery, people = _search(images, "reranking")
    distances = rerank(queries, gallery, k1=k1, k2=k2, weight=weight)
    return _counted(reid_means(reid_values_of_distances(distances, **people)), images)


def query_expansion(images: Embedded, *, k: int = 10, alpha: float = 3.0) -> dict[str, float]:
    """`reid_metrics` of the queries of `expand_queries`.

    Args:
      images: of which some are queries; their embeddings are brought to length one.
      k: see `expand_queries`.
      alpha: likewise.

    Returns:
      "cmc_at_K", "mean_average_precision", "mean_inverse_negative_penalty".

    Raises:
      UserError: no image is marked as a query; an option is out of its range.
    """
    queries, gallery, people = _search(images, "query_expansion")
    expanded = expand_queries(queries, gallery, k=k, alpha=alpha)
    found = reid_metrics(expanded, unit(np.asarray(gallery, np.float32)), **people)
    return _counted(found, images)


def single_shot(images: Embedded) -> dict[str, float]:
    """CMC with one image of each identity in the gallery: `single_shot_cmc`.

    Args:
      images: of which some are queries.

    Returns:
      "cmc_at_K".

    Raises:
      UserError: no image is marked as a query.
    """
    queries, gallery, people = _search(images, "single_shot")
    return _counted(single_shot_cmc(distance_matrix(queries, gallery), **people), images)


def verification(
    images: Embedded,
    *,
    num_pairs: int = 100_000,
    false_accept_rates: tuple = (1e-3, 1e-2, 1e-1),
) -> dict[str, float]:
    """`verification_metrics` of the cosines of pairs drawn at random, the same in every call.

    Args:
      images: queries or not.
      num_pairs: pairs of one class, and pairs of two classes.
      false_accept_rates: see `verification_metrics`.

    Returns:
      "roc_auc", "equal_error_rate", and "tar_at_far_f" for each f.

    Raises:
      UserError: no class has two images, or there is only one class; an option is out of its range.

    Example:
      >>> points = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
      >>> verification(Embedded(points, np.array([0, 0, 1, 1])), num_pairs=50)["roc_auc"]
      1.0
    """
    if num_pairs < 1:
        raise UserError(f"num_pairs: must be at least 1 (got {num_pairs})")
    first, second = _pairs(images.labels, num_pairs)
    points = unit(np.asarray(images.embeddings, np.float32))
    cosines = np.concatenate(
        [
            np.einsum("nd,nd->n", points[first[i : i + _PAIRS]], points[second[i : i + _PAIRS]])
            for i in range(0, len(first), _PAIRS)
        ]
    )
    same = images.labels[first] == images.labels[second]
    return verification_metrics(cosines, same, false_accept_rates=false_accept_rates)


def prefixes(images: Embedded, *, sizes: tuple) -> dict[str, float]:
    """Recall@1 and MAP@R of the first components of the embeddings, each brought to length 1.

    Args:
      images: queries or not.
      sizes: components that are used, each from 1 to those of an embedding.

    Returns:
      "recall_at_1_of_S" and "map_at_r_of_S" for each size S.

    Raises:
      UserError: a size that an embedding does not have.

    Example:
      >>> points = np.array([[1.0, 0.0, 9.0], [0.9, 0.1, 1.0], [0.0, 1.0, 9.0], [0.1, 0.9, 1.0]])
      >>> found = prefixes(Embedded(points, np.array([0, 0, 1, 1])), sizes=(3, 2))
      >>> found["recall_at_1_of_3"], found["recall_at_1_of_2"]
      (0.5, 1.0)
    """
    dim, found = images.embeddings.shape[1], {}
    for size in sizes:
        if type(size) is not int or not 1 <= size <= dim:
            raise UserError(f"prefixes.sizes: must be from 1 to {dim} (got {size})")
        points = unit(np.asarray(images.embeddings[:, :size], np.float32))
        if images.queries is None:
            metrics = retrieval_metrics(points, images.labels)
        else:
            own = images.queries
            metrics = retrieval_metrics(
                points[own],
                images.labels[own],
                gallery=points[~own],
                gallery_labels=images.labels[~own],
            )
        found |= {f"{name}_of_{size}": metrics[name] for name in ("recall_at_1", "map_at_r")}
    return found


PROTOCOLS: dict[str, Callable[..., dict[str, float]]] = {
    "prefixes": prefixes,
    "query_expansion": query_expansion,
    "reranking": reranking,
    "single_shot": single_shot,
    "verification": verification,
}
# Those that need images that are marked as queries.
OF_GALLERIES = ("query_expansion", "reranking", "single_shot")


def _search(images: Embedded, name: str) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Queries, gallery, and who is seen by which camera."""
    if images.queries is None:
        raise UserError(
            f"{name}: needs images that are marked as queries, and here every image searches all "
            "others; leave it out, or evaluate a set with a gallery of its own"
        )
    own, gallery = images.queries, ~images.queries
    cameras = images.cameras
    cameras = np.full(len(own), UNKNOWN_CAMERA, np.int32) if cameras is None else cameras
    further = images.embeddings[:0] if images.distractors is None else images.distractors
    # Each distractor shows somebody of its own, whom nobody searches.
    nobody = images.labels.max() + 1 + np.arange(len(further))
    people = {
        "query_ids": images.labels[own],
        "gallery_ids": np.append(images.labels[gallery], nobody),
        "query_cameras": cameras[own],
        "gallery_cameras": np.append(cameras[gallery], np.full(len(further), UNKNOWN_CAMERA)),
    }
    return images.embeddings[own], np.concatenate([images.embeddings[gallery], further]), people


def _counted(metrics: dict[str, float], images: Embedded) -> dict[str, float]:
    """Metrics, and how many distractors were in the gallery, where any were."""
    found = images.distractors
    return metrics if found is None else metrics | {"distractors": float(len(found))}


def _pairs(labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `count` pairs of one class, then of as many pairs of two classes."""
    order = np.argsort(labels, kind="stable")
    _, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    # Of the rows in order: where the row's class begins, and how many images it has.
    start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    paired = np.flatnonzero(size > 1)
    if not len(paired) or len(starts) < 2:
        raise UserError(
            f"labels: must be of at least two classes, one with two images (got {len(labels)} "
            f"images of {len(starts)} classes); leave verification out"
        )
    rng = np.random.default_rng(0)
    anchor = rng.choice(paired, count)
    step = rng.integers(1, size[anchor])
    positive = start[anchor] + (anchor - start[anchor] + step) % size[anchor]
    other = rng.integers(0, len(labels), count)
    negative = rng.integers(0, len(labels) - size[other])
    negative += np.where(negative >= start[other], size[other], 0)
    return order[np.append(anchor, other)], order[np.append(positive, negative)]
