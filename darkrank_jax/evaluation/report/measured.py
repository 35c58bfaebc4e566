"""What the page shows of one set of images: its embeddings by each network, and how each did."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer

from darkrank_jax.data import Images
from darkrank_jax.evaluation.neighbors import nearest_neighbors

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
