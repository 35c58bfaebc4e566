"""Images with classes, and how the classes of a source are shared out to splits."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from darkrank_jax.errors import UserError


class Split(NamedTuple):
    """Images of one use.

    Attributes:
      images: uint8 [n, height, width, channels].
      labels: int32 [n], 0 to len(class_names) - 1.
      class_names: what a person calls each class.
    """

    images: UInt8[np.ndarray, "n h w c"]
    labels: Int32[np.ndarray, " n"]
    class_names: tuple[str, ...]


def select_classes(
    images: np.ndarray, labels: np.ndarray, class_names: Sequence[str], chosen: Sequence[int]
) -> Split:
    """The images of some classes, which are numbered anew in the given order.

    Args:
      images: [n, ...].
      labels: int [n].
      class_names: of all classes.
      chosen: classes to keep.

    Returns:
      A split, its images in their old order.

    Example:
      >>> images = np.zeros((3, 1, 1, 1), np.uint8)
      >>> split = select_classes(images, np.array([0, 1, 2]), ["a", "b", "c"], [2, 0])
      >>> split.labels.tolist(), split.class_names
      ([1, 0], ('c', 'a'))
    """
    number = np.full(len(class_names), -1, np.int32)
    number[np.asarray(chosen, int)] = np.arange(len(chosen), dtype=np.int32)
    kept = np.flatnonzero(number[labels] >= 0)
    return Split(images[kept], number[labels[kept]], tuple(class_names[c] for c in chosen))


def shuffle_classes(num_classes: int, seed: int) -> np.ndarray:
    """An order of the classes in which splits are cut; the same for the same seed."""
    return np.random.default_rng(np.random.SeedSequence([seed, num_classes])).permutation(
        num_classes
    )


def check_batch(split: Split, batch_size: int, images_per_class: int) -> None:
    """Refuses a batch that needs more classes than there are.

    Args:
      split: to draw from.
      batch_size: images of a batch.
      images_per_class: of a batch.

    Raises:
      UserError: names both fields and the largest batch.
    """
    needed, found = batch_size // images_per_class, len(split.class_names)
    if needed > found:
        raise UserError(
            f"data.batch_size: {batch_size} images at {images_per_class} a class "
            f"(data.images_per_class) need {needed} classes, and the training split has {found}; "
            f"give at most {found * images_per_class}, or more images a class"
        )
