"""What is measured of a network in both libraries: sizes, images, targets."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

DIM, LEARNING_RATE, MOMENTUM = 128, 1e-3, 0.9
PATCH_14 = 14


class Case(NamedTuple):
    """A network, the batch it is given, and the computation's type.

    Attributes:
      network: in MODELS.
      batch: images.
      pixels: their sides; patches of 14 have the nearest multiple of it.
      dtype: "float32" or "bfloat16".
    """

    network: str
    batch: int
    pixels: int
    dtype: str

    @property
    def side(self) -> int:
        """Sides of the images of this network."""
        patches = self.network.startswith("dinov2") or self.network.endswith("14")
        return round(self.pixels / PATCH_14) * PATCH_14 if patches else self.pixels


class Engine(NamedTuple):
    """A network ready to run.

    Attributes:
      passes: "forward" and "step", called again and again; a call may return before it is done.
      wait: for what a pass returned.
      parameters: how many.
      peak: bytes of the device's memory at most in use so far; None: the device does not say, as
        CPUs do not.
    """

    passes: dict[str, Callable[[], object]]
    wait: Callable[[object], object]
    parameters: int
    peak: Callable[[], int] | None


def images(case: Case) -> np.ndarray:
    """Normalised images [batch, h, w, 3]."""
    shape = (case.batch, case.side, case.side, 3)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def targets(case: Case) -> np.ndarray:
    """Unit embeddings [batch, DIM], as a teacher's."""
    rows = np.random.default_rng(1).normal(size=(case.batch, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
