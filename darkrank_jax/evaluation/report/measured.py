"""What the page shows of one set of images: its embeddings by each network, and how each did."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer

from darkrank_jax.data import Images
from darkrank_jax.evaluation.neighbors import nearest_neighbors
from darkrank_jax.evaluation.protocols import Embedded, values_across_cameras
from darkrank_jax.evaluation.retrieval import same_camera

Rows = Float[np.ndarray, "images _"]


class Measured(NamedTuple):
    """One set of images and what the networks made of it.

    Attributes:
      labels: the class of each image, 0 to len(class_names) - 1.
      class_names: of the labels.
      embeddings: network -> its embeddings, in the order of the labels; networks may be absent.
      values: network -> the values of `retrieval_values`, of the same networks.
      images: uint8 [n, h, w, 1 or 3], or files that give such rows; None where only embeddings
        are at hand.
      cameras: which camera saw each image, -1 where that is unknown; None: not known of any.
      queries: which search, and the others are the gallery; None: each searches all others.
      digest: of `images_digest`; None where nobody knows which images they are.
    """

    labels: Integer[np.ndarray, " images"]
    class_names: tuple[str, ...]
    embeddings: dict[str, Rows]
    values: dict[str, dict[str, Float[np.ndarray, " images"]]]
    images: Images | None = None
    cameras: Integer[np.ndarray, " images"] | None = None
    queries: Bool[np.ndarray, " images"] | None = None
    digest: str | None = None

    def class_name(self, index: int) -> str:
        """The class of an image in words."""
        return self.class_names[self.labels[index]]

    def right(self, network: str) -> Bool[np.ndarray, " images"]:
        """Whether the nearest other image of each is of its class."""
        return self.values[network]["recall_at_1"] > 0

    def searching(self) -> Bool[np.ndarray, " images"]:
        """Whether an image is a query."""
        return np.ones(len(self.labels), bool) if self.queries is None else self.queries

    def searched(self) -> Bool[np.ndarray, " images"]:
        """Whether an image is in the gallery."""
        return np.ones(len(self.labels), bool) if self.queries is None else ~self.queries

    def matched(self) -> Bool[np.ndarray, " images"]:
        """Whether an image is a query and finds another of its class at all."""
        counts = np.bincount(self.labels[self.searched()], minlength=len(self.class_names))
        return self.searching() & (counts[self.labels] > self.searched())


class Verdicts(NamedTuple):
    """Who finds what, by the rule of the set: across cameras where they are known.

    Attributes:
      matched: bool [images], whether an image is a query that has another to find.
      right: network -> bool [images], whether the first image of a query's list is right.
      scores: network -> [images], how good the list is.
      metric: what the score is called.
    """

    matched: Bool[np.ndarray, " images"]
    right: dict[str, Bool[np.ndarray, " images"]]
    scores: dict[str, Float[np.ndarray, " images"]]
    metric: str


def verdicts_of(measured: Measured) -> Verdicts:
    """Right or wrong, and the score of every query by each network that has values.

    Args:
      measured: the images and what the networks made of them.

    Returns:
      Without cameras, by Recall@1 and MAP@R; with cameras by CMC@1 and AP of Market-1501's rule.

    Example:
      >>> points = np.array([[0.0], [0.1], [2.0], [-1.0]])
      >>> values = {"student": {}}
      >>> measured = Measured(np.array([0, 0, 0, 1]), ("a", "b"), {"student": points}, values,
      ...                     cameras=np.array([0, 0, 1, 1]))
      >>> found = verdicts_of(measured)
      >>> found.matched.tolist(), found.right["student"].tolist()
      ([True, True, True, False], [False, False, True, False])
    """
    if measured.cameras is None:
        right = {name: measured.right(name) for name in measured.values}
        scores = {name: values["map_at_r"] for name, values in measured.values.items()}
        return Verdicts(measured.matched(), right, scores, "MAP@R")
    searching, right, scores = measured.searching(), {}, {}
    matched = np.zeros(len(measured.labels), bool)
    for name in measured.values:  # whether a query has a match is the same for all
        images = Embedded(
            measured.embeddings[name], measured.labels, measured.cameras, measured.queries
        )
        values = values_across_cameras(images)
        right[name], scores[name] = np.zeros_like(matched), np.full(len(matched), np.nan)
        right[name][searching] = values["cmc_at_1"] > 0
        scores[name][searching] = values["average_precision"]
        matched = ~np.isnan(scores[name])
    return Verdicts(matched, right, scores, "average precision")


def ranked_lists(
    measured: Measured, name: str, queries: Integer[np.ndarray, " queries"], k: int
) -> list[Integer[np.ndarray, " found"]]:
    """The first images of each query's list, its class by its own camera left out.

    Args:
      measured: the images and their embeddings.
      name: of the network that searches.
      queries: indices of the images that search.
      k: how many; without cameras those of `neighbors_of`.

    Returns:
      Indices for each query, nearest first; fewer than k where the gallery has no more.

    Example:
      >>> points = np.array([[0.0], [0.1], [2.0], [-1.0]])
      >>> measured = Measured(np.array([0, 0, 0, 1]), ("a", "b"), {"student": points}, {},
      ...                     cameras=np.array([0, 0, 1, 1]))
      >>> [found.tolist() for found in ranked_lists(measured, "student", np.array([0, 2]), k=2)]
      [[3, 2], [1, 0]]
    """
    if measured.cameras is None:
        return list(neighbors_of(measured, name, queries, k))
    labels, cameras = measured.labels, measured.cameras
    left_out = [
        (labels == labels[query]) & same_camera(cameras, cameras[[query]]) for query in queries
    ]
    reach = k + max((int(each.sum()) for each in left_out), default=0)
    found = neighbors_of(measured, name, queries, reach)
    return [row[~each[row]][:k] for row, each in zip(found, left_out, strict=True)]


def neighbors_of(
    measured: Measured, name: str, queries: Integer[np.ndarray, " queries"], k: int
) -> Integer[np.ndarray, "queries neighbors"]:
    """The nearest images of the gallery, a query left out of its own list by index.

    Args:
      measured: the images and their embeddings.
      name: of the network that searches.
      queries: indices of the images that search.
      k: how many.

    Returns:
      Indices of the min(k, images in the gallery but the query) nearest, nearest first.

    Example:
      >>> points = np.array([[0.0], [5.0], [3.0], [0.0]])
      >>> measured = Measured(np.array([0, 1, 1, 0]), ("a", "b"), {"student": points}, {})
      >>> neighbors_of(measured, "student", np.array([0, 1]), k=2).tolist()
      [[3, 2], [2, 0]]
    """
    gallery = np.flatnonzero(measured.searched())
    k = min(k, len(gallery) - (measured.queries is None))
    if not len(queries):
        return np.empty((0, k), int)
    embeddings = measured.embeddings[name]
    reach = min(k + 1, len(gallery))
    _, places = nearest_neighbors(embeddings[queries], embeddings[gallery], k=reach)
    found = gallery[places]
    return np.array([row[row != query][:k] for row, query in zip(found, queries, strict=True)])


def view(results: dict[str, Any], dataset: str | None = None) -> dict[str, Any]:
    """The results as if they were of one dataset alone.

    Args:
      results: what `results.json` holds.
      dataset: one of `further_datasets`; None: the first.

    Returns:
      The same layout, each network with its costs and what it reached on that dataset.

    Example:
      >>> results = {"dataset": {"split": "test"}, "networks": {"a": {"steps": 5, "metrics": {}}},
      ...            "further_datasets": {"new": {"dataset": {"split": "train"},
      ...                                         "networks": {"a": {"metrics": {"nmi": 0.5}}}}}}
      >>> view(results, "new")
      {'dataset': {'split': 'train'}, 'networks': {'a': {'steps': 5, 'metrics': {'nmi': 0.5}}}}
    """
    own = {key: value for key, value in results.items() if key != "further_datasets"}
    if dataset is None:
        return own
    further = results["further_datasets"][dataset]
    costs = {
        name: {key: value for key, value in row.items() if key not in QUALITY}
        for name, row in results["networks"].items()
    }
    networks = {name: costs[name] | row for name, row in further["networks"].items()}
    return own | {"dataset": further["dataset"], "networks": networks}


# The fields of a network that depend on the dataset.
QUALITY = (
    "metrics",
    "reid",
    "protocols",
    "intervals",
    "recall_curve",
    "difference",
    "gap_recovered",
    "agreement",
    "teacher_gallery",
)
