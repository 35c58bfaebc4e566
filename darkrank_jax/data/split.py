"""Images with classes, and how the classes of a source are shared out to splits."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32

from darkrank_jax.data.images import EncodedImages, Images, select_images
from darkrank_jax.errors import UserError

# The camera of an image of which it is not known; two such images share no camera.
UNKNOWN_CAMERA = -1

# Numbers that sources have as options -> the least and the most that each can be.
_RANGES: dict[str, tuple[int, float]] = {
    "cache_mib": (0, math.inf),
    "max_megapixels": (1, 178),
    "center_crop": (0, 1),
    "distortion": (0, math.inf),
    # Of one image nothing can be found.
    "images_per_class": (2, math.inf),
    "num_train_classes": (0, math.inf),
    # As the seed of a run, whose random keys have 32 bits.
    "seed": (0, 2**32 - 1),
    "test_fraction": (0, 1),
    "tolerated": (0, 1),
    "validation_fraction": (0, 1),
}


class Split(NamedTuple):
    """Images of one use.

    Attributes:
      images: uint8 [n, height, width, channels], or files that give such rows when indexed.
      labels: int32 [n], 0 to len(class_names) - 1.
      class_names: what a person calls each class.
      cameras: int32 [n], the camera that took each, where the set says so; -1: not known, so that
        no other image was surely taken by it.
      queries: bool [n], which search and which are the gallery, where the set says so; else each
        searches all others.
    """

    images: Images
    labels: Int32[np.ndarray, " n"]
    class_names: tuple[str, ...]
    cameras: Int32[np.ndarray, " n"] | None = None
    queries: Bool[np.ndarray, " n"] | None = None

    @property
    def names(self) -> list[str]:
        """The images' names within their source; none where it has no files."""
        return self.images.names() if isinstance(self.images, EncodedImages) else []


def select_classes(
    images: Images, labels: np.ndarray, class_names: Sequence[str], chosen: Sequence[int]
) -> Split:
    """The images of some classes, which are numbered anew in the given order.

    Args:
      images: as a split has them.
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
    names = tuple(class_names[c] for c in chosen)
    return Split(select_images(images, kept), number[labels[kept]], names)


def shuffle_classes(num_classes: int, seed: int) -> np.ndarray:
    """An order of the classes in which splits are cut; the same for the same seed."""
    return np.random.default_rng(np.random.SeedSequence([seed, num_classes])).permutation(
        num_classes
    )


def height_and_width(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Both sides of an image size, which may be one number for a square.

    Args:
      image_size: pixels; one side, or height and width.

    Returns:
      Height and width.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    return height, width


def check_numbers(**options: float) -> None:
    """Refuses numbers that no source can do anything with.

    Args:
      **options: of a source, by name.

    Raises:
      UserError: a number is too small, too large, infinite or none.

    Example:
      >>> check_numbers(seed=3, validation_fraction=1.5)
      Traceback (most recent call last):
      darkrank_jax.errors.UserError: data.options.validation_fraction: is 1.5; give 0 to 1
    """
    for name, value in options.items():
        least, most = _RANGES[name]
        if not (least <= value <= most and value < math.inf):
            valid = f"at least {least}" if most == math.inf else f"{least} to {most}"
            raise UserError(f"data.options.{name}: is {value}; give {valid}")
