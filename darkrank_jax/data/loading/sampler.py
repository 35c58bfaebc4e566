"""Which images make the batch of a step: pure functions of (seed, step), by name in a table."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from darkrank_jax.errors import UserError

# Nearest classes that a class is grouped with.
POOL = 16
# Rows of a distance matrix held at once, which bounds the memory.
_BLOCK = 1024
# Samplers that make a batch of however few classes.
_OF_ANY_CLASSES = ("class_balanced", "random")


class ClassRows(NamedTuple):
    """The images of each class: class c's are rows[starts[c] : starts[c] + counts[c]]."""

    rows: np.ndarray
    starts: np.ndarray
    counts: np.ndarray


def class_rows(labels: np.ndarray) -> ClassRows:
    """Groups images by class.

    Args:
      labels: int [n], each of 0 to the largest at least once.

    Returns:
      Rows int [n], the classes one after the other.

    Example:
      >>> classes = class_rows(np.array([1, 0, 1]))
      >>> classes.rows.tolist(), classes.starts.tolist(), classes.counts.tolist()
      ([1, 0, 2], [0, 1], [1, 2])
    """
    counts = np.bincount(labels)
    return ClassRows(np.argsort(labels, kind="stable"), np.cumsum(counts) - counts, counts)


def p_x_k(
    classes: ClassRows,
    *,
    seed: int,
    step: int,
    batch_size: int,
    images_per_class: int,
    others: int = 0,
) -> np.ndarray:
    """Draws `images_per_class` images from each of several classes.

    Classes are drawn without replacement; so are the images of a class that has enough. A class
    with fewer gives all of its images, some of them again.

    Args:
      classes: of the training split.
      seed: of the run.
      step: from 0.
      batch_size: images of the batch.
      images_per_class: of the batch.
      others: number of images of the batch that are alone in their class.

    Returns:
      Image numbers [batch_size], the images of a class side by side, those alone at the end.

    Example:
      >>> classes = class_rows(np.array([0, 0, 1, 1, 2, 2]))
      >>> p_x_k(classes, seed=0, step=7, batch_size=4, images_per_class=2).tolist()
      [4, 5, 0, 1]
    """
    rng = np.random.default_rng((seed, step))
    groups = (batch_size - others) // images_per_class
    order = rng.permutation(len(classes.counts))
    grouped = _images(classes, order[:groups], images_per_class, rng)
    return np.concatenate([grouped, _images(classes, order[groups : groups + others], 1, rng)])


def class_balanced(
    classes: ClassRows, *, seed: int, step: int, batch_size: int, images_per_class: int
) -> np.ndarray:
    """Draws as equally many images of each class as the batch allows, however large the classes.

    Args:
      classes: of the training split.
      seed: of the run.
      step: from 0.
      batch_size: images of the batch; with more of them than classes, every class is there.
      images_per_class: does not count here.

    Returns:
      Image numbers [batch_size], the images of a class side by side.
    """
    del images_per_class
    rng = np.random.default_rng((seed, step))
    order = rng.permutation(len(classes.counts))
    each, more = divmod(batch_size, len(order))
    parts = [_images(classes, order[:more], each + 1, rng)]
    return np.concatenate([*parts, _images(classes, order[more:], each, rng)])


def hard_classes(
    classes: ClassRows,
    *,
    seed: int,
    step: int,
    batch_size: int,
    images_per_class: int,
    neighbors: np.ndarray,
    group: int = 4,
    pool: int = POOL,
) -> np.ndarray:
    """P x K over groups of classes that the teacher finds alike.

    A group is a class drawn at random and others of its nearest ones, so that a batch holds hard
    negatives of each of its classes, and far ones from the other groups.

    Args:
      classes: of the training split.
      seed: of the run.
      step: from 0.
      batch_size: a multiple of `images_per_class`.
      images_per_class: of the batch.
      neighbors: int [classes, at least pool], see `class_neighbors`.
      group: classes of a group; the last group may be smaller.
      pool: nearest classes of which those of a group are drawn.

    Returns:
      Image numbers [batch_size], the images of a class side by side, the classes of a group, too.
    """
    rng = np.random.default_rng((seed, step))
    wanted = batch_size // images_per_class
    chosen: dict[int, None] = {}
    for first in rng.permutation(len(classes.counts)).tolist():
        if first not in chosen:
            near = [c for c in rng.permutation(neighbors[first, :pool]).tolist() if c not in chosen]
            chosen |= dict.fromkeys([first, *near[: group - 1]])
        if len(chosen) >= wanted:
            break
    return _images(classes, np.array(list(chosen))[:wanted], images_per_class, rng)


def random(
    classes: ClassRows, *, seed: int, step: int, batch_size: int, images_per_class: int
) -> np.ndarray:
    """Draws images regardless of class, all equally likely: the sampler of images without labels.

    Args:
      classes: of the training split.
      seed: of the run.
      step: from 0.
      batch_size: images of the batch.
      images_per_class: does not count here.

    Returns:
      Image numbers [batch_size], different ones where there are enough.
    """
    del images_per_class
    return classes.rows[draw(len(classes.rows), batch_size, np.random.default_rng((seed, step)))]


def draw(count: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers below `count`, int [wanted]: different ones where there are enough."""
    return rng.choice(count, wanted, replace=wanted > count)


SAMPLERS: dict[str, Callable[..., np.ndarray]] = {
    "class_balanced": class_balanced,
    "hard_classes": hard_classes,
    "p_x_k": p_x_k,
    "random": random,
}


def class_neighbors(embeddings: np.ndarray, labels: np.ndarray, *, pool: int = POOL) -> np.ndarray:
    """The classes nearest to each class, by the distance of their mean embeddings.

    Args:
      embeddings: float [n, dim], the teacher's.
      labels: int [n], each of 0 to the largest at least once.
      pool: neighbors of each, at most all others.

    Returns:
      int [classes, pool], the nearest first.

    Raises:
      UserError: an embedding is NaN or infinite.

    Example:
      >>> class_neighbors(np.array([[0.0], [9.0], [1.0], [5.0]]), np.array([0, 1, 0, 2]), pool=1)
      array([[2],
             [2],
             [1]])
    """
    wrong = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if wrong.size:
        raise UserError(
            f"teacher: its embeddings of {len(wrong)} of {len(embeddings)} training images are NaN "
            "or infinite; give another teacher, or the sampler p_x_k, which asks none"
        )
    classes = class_rows(labels)
    sums = np.add.reduceat(embeddings[classes.rows].astype(np.float64), classes.starts, axis=0)
    means = sums / classes.counts[:, None]
    squares = np.square(means).sum(axis=1)
    found = []
    for start in range(0, len(means), _BLOCK):
        distances = squares[None] - 2 * means[start : start + _BLOCK] @ means.T
        block = np.arange(len(distances))
        distances[block, start + block] = np.inf
        found.append(np.argsort(distances, axis=1, kind="stable")[:, : min(pool, len(means) - 1)])
    return np.concatenate(found)


def of_process(rows: np.ndarray, index: int, count: int) -> np.ndarray:
    """The part of a global batch that one of several processes prepares.

    Args:
      rows: of the batch, a multiple of `count`.
      index: of the process, from 0.
      count: processes.

    Returns:
      Rows [batch / count]; those of all processes in their order are the batch.

    Example:
      >>> of_process(np.array([7, 3, 5, 1]), 1, 2).tolist()
      [5, 1]
    """
    return np.split(rows, count)[index]


def check_batch(
    num_classes: int,
    batch_size: int,
    images_per_class: int,
    sampler: Mapping[str, Any],
    where: str = "data",
) -> None:
    """Refuses a batch that needs more classes than there are.

    Args:
      num_classes: of the training split.
      batch_size: images of a batch.
      images_per_class: of a batch.
      sampler: its name and options.
      where: the config field that holds these.

    Raises:
      UserError: names the fields and the largest batch.
    """
    others = sampler.get("others", 0)
    needed = (batch_size - others) // images_per_class + others
    if sampler["name"] not in _OF_ANY_CLASSES and needed > num_classes:
        raise UserError(
            f"{where}.batch_size: {batch_size} images at {images_per_class} a class "
            f"({where}.images_per_class) need {needed} classes, and the training split has "
            f"{num_classes}; give at most {(num_classes - others) * images_per_class + others}, or "
            "more images a class"
        )


def _images(
    classes: ClassRows, chosen: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """`count` images of each chosen class, different ones as far as it has them."""
    if not len(chosen) or not count:
        return np.empty(0, np.int64)
    counts, starts = classes.counts[chosen], classes.starts[chosen]
    # Random keys put a class's images in random order; those that do not exist come last.
    keys = rng.random((len(chosen), counts.max()))
    keys[np.arange(counts.max()) >= counts[:, None]] = 2.0
    order = np.argsort(keys, axis=1)
    places = np.arange(count) % counts[:, None]
    return classes.rows[starts[:, None] + np.take_along_axis(order, places, axis=1)].reshape(-1)
