"""P x K batches: which images make the batch of a step, as a pure function of (seed, step)."""

from typing import NamedTuple

import numpy as np


class ClassRows(NamedTuple):
    """The images of each class, as one rectangle: rows[c, :counts[c]] are class c's."""

    rows: np.ndarray
    counts: np.ndarray


def class_rows(labels: np.ndarray) -> ClassRows:
    """Groups images by class.

    Args:
      labels: int [n], each of 0 to the largest at least once.

    Returns:
      Rows int [classes, largest class], of which the first `counts` are used.

    Example:
      >>> class_rows(np.array([1, 0, 1])).rows.tolist()
      [[1, -1], [0, 2]]
    """
    counts = np.bincount(labels)
    order = np.argsort(labels, kind="stable")
    rows = np.full((len(counts), counts.max()), -1)
    rows[np.arange(counts.max()) < counts[:, None]] = order
    return ClassRows(rows, counts)


def sample_batch(
    classes: ClassRows, *, seed: int, step: int, batch_size: int, images_per_class: int
) -> np.ndarray:
    """Draws `images_per_class` images from each of `batch_size / images_per_class` classes.

    Classes are drawn without replacement; so are the images of a class that has enough. A class
    with fewer gives all of its images, some of them again.

    Args:
      classes: of the training split.
      seed: of the run.
      step: from 0.
      batch_size: a multiple of `images_per_class`, at most that of all classes.
      images_per_class: of the batch.

    Returns:
      Image numbers [batch_size], the images of a class side by side.

    Example:
      >>> classes = class_rows(np.array([0, 0, 1, 1, 2, 2]))
      >>> sample_batch(classes, seed=0, step=7, batch_size=4, images_per_class=2).tolist()
      [4, 5, 0, 1]
    """
    rng = np.random.default_rng((seed, step))
    chosen = rng.permutation(len(classes.counts))[: batch_size // images_per_class]
    rows, counts = classes.rows[chosen], classes.counts[chosen]
    # Random keys put a class's images in random order; those that do not exist come last.
    keys = rng.random(rows.shape)
    keys[np.arange(rows.shape[1]) >= counts[:, None]] = 2.0
    order = np.argsort(keys, axis=1)
    places = np.arange(images_per_class) % counts[:, None]
    return np.take_along_axis(rows, np.take_along_axis(order, places, axis=1), axis=1).reshape(-1)
