"""Images with labels and images without as the images of one split."""
# ruff: noqa: D102 -- see `Images`.

from typing import Any

import numpy as np

from darkrank_jax.data.images import Images
from darkrank_jax.data.loading.shared_memory import SharedMemory
from darkrank_jax.data.pixels.crops import Crop
from darkrank_jax.data.split import Split
from darkrank_jax.digests import digest
from darkrank_jax.errors import UserError

# What the names of images without labels begin with, so that no image with a label has one.
PREFIX = "unlabelled/"
# Pictures by whose crop two crops are known to be the same: width and height.
_PICTURES = ((1000, 700), (700, 1000))


def join_unlabelled(split: Split, unlabelled: Split) -> Split:
    """A training split, and after it images of which no class is known.

    Args:
      split: images with labels.
      unlabelled: images without, of the same size.

    Returns:
      One split; the names of the images without labels begin with PREFIX.

    Raises:
      UserError: the images differ in channels, or in the part of a picture that evaluation sees.
    """
    first, second = split.images, unlabelled.images
    if first.shape[1:] != second.shape[1:]:
        raise UserError(
            f"data.unlabelled: its images are {_size(second)}, those of data {_size(first)}; give "
            "both the same data.options.grayscale"
        )
    height, width = first.shape[1:3]
    # An array was cut to its size already.
    pictures = ((width, height),) if first.in_memory else _PICTURES
    if any(first.crop(*each) != second.crop(*each) for each in pictures):
        raise UserError(
            "data.unlabelled.options.center_crop: must be that of data.options; give both the same"
        )
    labels = np.concatenate([split.labels, unlabelled.labels])
    return Split(JoinedImages(first, second), labels, split.class_names)


class JoinedImages:
    """`Images` of two sources, one after the other."""

    in_memory = False

    def __init__(self, first: Images, second: Images):
        self._parts, self._start = (first, second), len(first)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self), *self._parts[0].shape[1:])

    @property
    def crop(self) -> Crop:
        return self._parts[1].crop

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        if isinstance(rows, int | np.integer):
            part, row = self._place(range(len(self))[int(rows)])
            return part[row]
        chosen = np.arange(len(self))[rows]
        images = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for part, places, own in self._divided(chosen):
            images[places] = part[own]
        return images

    def read_into(self, rows: np.ndarray, out: np.ndarray) -> None:
        for image, row in zip(out, rows.tolist(), strict=True):
            part, own = self._place(row)
            part.read_into(np.array([own]), image[None])

    def picture(self, row: int) -> np.ndarray:
        part, own = self._place(row)
        return part.picture(own)

    def select(self, rows: np.ndarray) -> Images:
        ((first, _, own), (second, _, others)) = self._divided(rows)
        if not len(others):
            return first.select(own)
        if (np.diff((rows >= self._start).astype(np.int8)) < 0).any():
            raise ValueError("rows: images with labels come before those without")
        return JoinedImages(first.select(own), second.select(others))

    def shared(self, memory: SharedMemory) -> "JoinedImages":
        shared = JoinedImages(*self._parts)
        shared._parts = tuple(part.shared(memory) for part in self._parts)
        return shared

    def names(self) -> list[str]:
        first, second = (part.names() for part in self._parts)
        # Names that some images lack say nothing.
        return [*first, *(f"{PREFIX}{name}" for name in second)] if first and second else []

    def sample(self) -> tuple[str, list[bytes]]:
        samples = [part.sample() for part in self._parts]
        return samples[0][0], [each for _, found in samples for each in found]

    def digest(self) -> str:
        return digest([part.digest().encode() for part in self._parts], "blake2b")

    def _place(self, row: int) -> tuple[Images, int]:
        """The part that holds a row, and the row in it."""
        later = row >= self._start
        return self._parts[later], row - self._start * later

    def _divided(self, rows: np.ndarray) -> list[tuple[Images, np.ndarray, np.ndarray]]:
        """Of each part: places in the given rows, and the part's own rows there."""
        later = rows >= self._start
        return [
            (part, places, rows[places] - start)
            for part, places, start in zip(
                self._parts,
                (np.flatnonzero(~later), np.flatnonzero(later)),
                (0, self._start),
                strict=True,
            )
        ]


def _size(images: Images) -> str:
    """Height, width and channels."""
    return " x ".join(map(str, images.shape[1:]))
