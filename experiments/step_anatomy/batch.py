"""What ours and PyTorch's step have in common: sizes, images, losses."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np

IMAGES_PER_CLASS, DIM = 4, 128
STUDENT, TEACHER = "resnet18", "resnet50"
# All in the sum; the first is of the labels, and what the student has when it is alone.
LOSSES: dict[str, dict[str, Any]] = {
    "triplet": {"weight": 1.0, "margin": 0.2},
    "darkrank_hard": {"weight": 0.1, "list_size": None},
    "darkrank_soft": {"weight": 0.1, "list_size": 4},
    "rkd_distance": {"weight": 1.0},
    "rkd_angle": {"weight": 1.0},
}


Part = Callable[[], object]


class Engine(NamedTuple):
    """What computes a step.

    Attributes:
      parts: every part by name, called again and again.
      wait: for what a part returned, which may not be there yet.
      queues: whether parts return before they are done, as they do on accelerators.
      loaders: threads or workers that make batches ahead, two each.
      traced: writes into a folder what runs meanwhile.
    """

    parts: dict[str, Part]
    wait: Callable[[object], object]
    queues: bool
    loaders: int
    traced: Callable[[str], AbstractContextManager]


class Sizes(NamedTuple):
    """Of a batch: how many images, of how many pixels, the computation's type, who loads them."""

    batch: int
    pixels: int
    dtype: str
    workers: int = 0


def images(sizes: Sizes) -> tuple[np.ndarray, np.ndarray]:
    """Random bytes [4 * batch, h, w, 3] and their labels."""
    shape = (4 * sizes.batch, sizes.pixels, sizes.pixels, 3)
    bytes_ = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return bytes_, (np.arange(len(bytes_)) // IMAGES_PER_CLASS).astype(np.int32)


def embeddings(sizes: Sizes) -> tuple[np.ndarray, np.ndarray]:
    """Random unit embeddings of student and teacher."""
    rows = np.random.default_rng(1).normal(size=(2, sizes.batch, DIM))
    student, teacher = rows / np.linalg.norm(rows, axis=2, keepdims=True)
    return student.astype(np.float32), teacher.astype(np.float32)
