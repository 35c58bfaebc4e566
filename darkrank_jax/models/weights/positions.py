"""Position embeddings of one image size resized to another, as other projects resize theirs."""

import functools
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

Grid = tuple[int, int]
Method = Literal["bicubic", "bicubic_antialias", "bilinear_antialias"]


class PositionLayout(NamedTuple):
    """What the position embeddings of a file are of.

    Attributes:
      leading: those before the patches: of a class token and a distillation token.
      grid: rows and columns of patches.
    """

    leading: int
    grid: Grid


def find_layout(count: int, leading: int, grid: Grid, known: Grid | None) -> PositionLayout | None:
    """The layout of a file's position embeddings.

    Args:
      count: embeddings in the file.
      leading: tokens before the patches that the network has. A file holds embeddings of all of
        them or, as timm's DINOv2 with registers, of none.
      grid: rows and columns of patches of the run's images.
      known: rows and columns of the images that the file was trained on; None: square, or those of
        `grid` where the file holds as many.

    Returns:
      None: it cannot be told.

    Example:
      >>> find_layout(197, 1, (7, 7), None)
      PositionLayout(leading=1, grid=(14, 14))
      >>> find_layout(129, 1, (16, 8), None)
      PositionLayout(leading=1, grid=(16, 8))
      >>> find_layout(65, 1, (16, 4), None)  # 8 x 8 or 16 x 4
    """
    for held in dict.fromkeys((leading, 0)):
        places = count - held
        side = math.isqrt(max(places, 0))
        found = [known] if known else [(side, side), grid]
        fitting = {each for each in found if math.prod(each) == places}
        # A single embedding may be that of the class token.
        if fitting and places > (held != leading):
            return PositionLayout(held, fitting.pop()) if len(fitting) == 1 else None
    return None


def fit_positions(
    positions: np.ndarray, layout: PositionLayout, leading: int, grid: Grid, method: Method
) -> np.ndarray:
    """Position embeddings resized to another grid.

    Args:
      positions: [1, layout.leading + rows * columns, dim].
      layout: of these.
      leading: embeddings before those of the patches that come out; where the file holds none,
        they are 0.
      grid: rows and columns that come out.
      method: of resizing; "antialias" widens the filter where the grid shrinks, and its cubic has
        a = -0.5 as Pillow's; without it a is -0.75, as PyTorch has it.

    Returns:
      [1, leading + rows * columns, dim].
    """
    dim = positions.shape[-1]
    first, patches = positions[:, : layout.leading], positions[0, layout.leading :]
    if not layout.leading:
        first = np.zeros((1, leading, dim), positions.dtype)
    if layout.grid != grid:
        maps = patches.reshape(*layout.grid, dim)
        rows, columns = (
            _weights(old, new, method) for old, new in zip(layout.grid, grid, strict=True)
        )
        patches = np.einsum("ri,cj,ijd->rcd", rows, columns, maps, optimize=True)
    patches = patches.reshape(1, -1, dim).astype(positions.dtype)
    return np.concatenate([first, patches], axis=1)


def _weights(old: int, new: int, method: Method) -> np.ndarray:
    """What each of `new` places takes of each of `old`, [new, old]; rows sum to 1."""
    antialias = method.endswith("antialias")
    kernel, reach = _KERNELS[method]
    stretch = max(old / new, 1.0) if antialias else 1.0
    centres = (np.arange(new) + 0.5) * (old / new) - 0.5
    margin = 0 if antialias else reach
    places = np.arange(-margin, old + margin)
    weights = kernel((places - centres[:, None]) / stretch)
    # At an edge PyTorch repeats the last value or, with antialias, takes what there is.
    inside = np.stack([weights[:, places.clip(0, old - 1) == i].sum(axis=1) for i in range(old)], 1)
    return inside / inside.sum(axis=1, keepdims=True)


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    """The cubic convolution kernel of Keys (1981)."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = ((x - 5) * x + 8) * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(x), 0.0)


# Kernel by method, and how far it reaches.
_KERNELS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
    "bicubic": (functools.partial(_cubic, a=-0.75), 2),
    "bicubic_antialias": (functools.partial(_cubic, a=-0.5), 2),
    "bilinear_antialias": (_triangle, 1),
}
