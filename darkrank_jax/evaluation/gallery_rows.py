"""Rows of a gallery in any float type or in int8, read as floats a few at a time."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int8

from darkrank_jax.evaluation.inputs import check_rows

# Rows that are rounded at once.
_ROWS = 2048

Rows = Float[np.ndarray, "_ _"] | Float[Array, "_ _"]


class Int8Gallery(NamedTuple):
    """A gallery in a quarter of the memory, from `to_int8`: row i is codes[i] * scales[i]."""

    codes: Int8[np.ndarray, "m dim"]
    scales: Float[np.ndarray, " m"]


def to_int8(gallery: Rows) -> Int8Gallery:
    """Rounds each row of a gallery to 255 steps.

    codes = round(127 g / max |g|), scales = max |g| / 127, row by row.

    Args:
      gallery: [m, dim], finite.

    Returns:
      Codes and scales, which `nearest_neighbors` takes as a gallery; a number is off by at most
      half a scale.

    Raises:
      UserError: there is no row, or one is not finite.

    Example:
      >>> codes, scales = to_int8(np.array([[0.5, -1.0], [0.0, 0.0]], np.float32))
      >>> codes.tolist(), (127 * scales).tolist()
      ([[64, -127], [0, 0]], [1.0, 0.0])
    """
    rows = check_rows(np.asarray(gallery), "gallery")
    codes, scales = np.empty(rows.shape, np.int8), np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _ROWS):
        tile = np.asarray(rows[start : start + _ROWS], np.float32)
        largest = np.abs(tile).max(axis=1)
        steps = tile * (127 / np.where(largest > 0, largest, 1))[:, None]
        codes[start : start + _ROWS] = np.rint(steps)
        scales[start : start + _ROWS] = largest / 127
    return Int8Gallery(codes, scales)


def stored_array(gallery: np.ndarray | Int8Gallery) -> np.ndarray:
    """The array of the gallery, one row for each image: numbers or codes."""
    return gallery.codes if isinstance(gallery, Int8Gallery) else gallery


def float_rows(gallery: np.ndarray | Int8Gallery, index: slice | np.ndarray) -> np.ndarray:
    """Gallery rows at an index as float32; float64 stays float64."""
    if isinstance(gallery, Int8Gallery):
        return gallery.codes[index] * gallery.scales[index][:, None]
    return at_least_float32(gallery[index])


def at_least_float32(rows: np.ndarray) -> np.ndarray:
    """Rows as float32; float64 stays float64."""
    return rows if rows.dtype == np.float64 else rows.astype(np.float32, copy=False)
