"""Images with classes, and how the classes of a source are shared out to splits."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int32

from darkrank_jax.data.images import Images, as_images
from darkrank_jax.errors import UserError

# The camera of an image of which it is not known; two such images share no camera.
UNKNOWN_CAMERA = -1
# The label of an image of which no class is known; it learns from a teacher alone.
UNLABELLED = -1

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
    # Overlap at 10 needs ten other images.
    "validation_images": (11, math.inf),
}


class _Fields(NamedTuple):
    images: Images
    labels: Int32[np.ndarray, " n"]
    class_names: tuple[str, ...]
    cameras: Int32[np.ndarray, " n"] | None = None
    queries: Bool[np.ndarray, " n"] | None = None


class Split(_Fields):
    """Images of one use.

    Attributes:
      images: an array, uint8 [n, height, width, channels], or files that give such rows when
        indexed.
      labels: int32 [n], 0 to len(class_names) - 1, or UNLABELLED.
      class_names: what a person calls each class; empty where no image has one.
      cameras: int32 [n], the camera that took each, where the set says so; -1: not known, so that
        no other image was surely taken by it.
      queries: bool [n], which search and which are the gallery, where the set says so; else each
        searches all others.

    Raises:
      UserError: the images are an array of another type or shape.
    """

    def __new__(cls, images: Images | np.ndarray, *others: Any, **named: Any) -> "Split":  # noqa: D102
        known = as_images(images) if isinstance(images, np.ndarray) else images
        return super().__new__(cls, known, *others, **named)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.images.shape))
        return f"Split(images {shape}, {len(self.class_names)} classes)"

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> "Split":  # pyright: ignore
        # Of `_replace`, which would pass `__new__` by.
        return cls(*iterable)

    @property
    def num_labelled(self) -> int:
        """Images with a class, which come before those without."""
        return int(np.count_nonzero(self.labels != UNLABELLED))

    @property
    def names(self) -> list[str]:
        """The images' names within their source; none where it has no files."""
        return self.images.names()


def labelled_part(split: Split) -> Split:
    """The images of a split that have a class; the split itself where all have one."""
    rows = np.arange(split.num_labelled)
    if len(rows) == len(split.labels):
        return split
    return split._replace(images=split.images.select(rows), labels=split.labels[rows])


def select_classes(split: Split, chosen: np.ndarray) -> Split:
    """The images of some classes, which are renumbered in the given order.

    Args:
      split: of all classes.
      chosen: int [classes], those to keep.

    Returns:
      A split, its images in their old order; without queries where none is left.

    Example:
      >>> split = Split(np.zeros((3, 1, 1, 1), np.uint8), np.arange(3), ("a", "b", "c"))
      >>> part = select_classes(split, np.array([2, 0]))
      >>> part.labels.tolist(), part.class_names
      ([1, 0], ('c', 'a'))
    """
    number = np.full(len(split.class_names), -1, np.int32)
    number[chosen] = np.arange(len(chosen), dtype=np.int32)
    rows = np.flatnonzero(number[split.labels] >= 0)
    queries = None if split.queries is None else split.queries[rows]
    return Split(
        split.images.select(rows),
        number[split.labels[rows]],
        tuple(split.class_names[label] for label in chosen.tolist()),
        None if split.cameras is None else split.cameras[rows],
        queries if queries is not None and queries.any() else None,
    )


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


def check_ranges(**options: float) -> None:
    """Refuses numbers that no source can do anything with.

    Args:
      **options: of a source, by name.

    Raises:
      UserError: a number is too small, too large, infinite or none.

    Example:
      >>> check_ranges(seed=3, validation_fraction=1.5)
      Traceback (most recent call last):
      darkrank_jax.errors.UserError: data.options.validation_fraction: must be 0 to 1 (got 1.5)
    """
    for name, value in options.items():
        least, most = _RANGES[name]
        if not (least <= value <= most and value < math.inf):
            valid = f"at least {least}" if most == math.inf else f"{least} to {most}"
            raise UserError(f"data.options.{name}: must be {valid} (got {value})")
