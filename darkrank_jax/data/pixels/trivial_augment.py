"""TrivialAugment: one change of an image, drawn from a table, at a random level."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from darkrank_jax.data.pixels.pictures import to_array, to_picture
from darkrank_jax.data.pixels.warping import warp

# How far the changes go at level 1: the ranges of the paper's wide table.
_SHEAR, _SHIFT, _ANGLE, _FACTOR = 0.99, 32 / 224, math.radians(135), 0.99


def trivial_augment(
    image: np.ndarray, rng: np.random.Generator, *, strength: float = 1.0
) -> np.ndarray:
    """One change of the table, at a level drawn evenly up to `strength`.

    Args:
      image: uint8 [h, w, 1 or 3].
      rng: random numbers.
      strength: largest level, 0 to 1: at 1 turns of 135 degrees, colours inverted, 2 bits left.

    Returns:
      uint8 [h, w, c].

    Raises:
      ValueError: a strength out of its range.

    Source: Mueller and Hutter, TrivialAugment, ICCV 2021, whose autocontrast and equalization have
    no level; here they are blended in.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be 0 to 1 (got {strength})")
    change = list(CHANGES.values())[rng.integers(len(CHANGES))]
    return change(image, rng.uniform(-strength, strength))


def _sheared_down(image: np.ndarray, level: float) -> np.ndarray:
    """Sheared along the other axis."""
    turned = np.ascontiguousarray(image.swapaxes(0, 1))
    return warp(turned, shear=_SHEAR * level).swapaxes(0, 1)


def _of_picture(change: Callable[[Image.Image, float], Any]) -> Callable[..., np.ndarray]:
    """A change of what Pillow holds, as one of an array."""

    @functools.wraps(change)
    def changed(image: np.ndarray, level: float) -> np.ndarray:
        return to_array(change(to_picture(image), level))

    return changed


def _enhanced(kind: Any) -> Callable[..., np.ndarray]:
    """A property of the picture times 1 + level."""
    return _of_picture(lambda picture, level: kind(picture).enhance(1 + _FACTOR * level))


def _blended(change: Callable[[Image.Image], Image.Image]) -> Callable[..., np.ndarray]:
    """The picture on its way to a changed one."""
    return _of_picture(lambda picture, level: Image.blend(picture, change(picture), abs(level)))


@_of_picture
def _posterized(picture: Image.Image, level: float) -> Image.Image:
    """8 to 2 bits are left."""
    return ImageOps.posterize(picture, 8 - round(6 * abs(level)))


@_of_picture
def _solarized(picture: Image.Image, level: float) -> Image.Image:
    """What is brighter than a threshold is inverted."""
    return ImageOps.solarize(picture, 256 - round(256 * abs(level)))


# Name -> function of an image and a level from -1 to 1, which is no change at 0.
CHANGES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "identity": lambda image, _: image,
    "shear_across": lambda image, level: warp(image, shear=_SHEAR * level),
    "shear_down": _sheared_down,
    "shift_across": lambda image, level: warp(image, shift=(_SHIFT * level, 0.0)),
    "shift_down": lambda image, level: warp(image, shift=(0.0, _SHIFT * level)),
    "rotation": lambda image, level: warp(image, angle=_ANGLE * level),
    "brightness": _enhanced(ImageEnhance.Brightness),
    "saturation": _enhanced(ImageEnhance.Color),
    "contrast": _enhanced(ImageEnhance.Contrast),
    "sharpness": _enhanced(ImageEnhance.Sharpness),
    "posterization": _posterized,
    "solarization": _solarized,
    "autocontrast": _blended(ImageOps.autocontrast),
    "equalization": _blended(ImageOps.equalize),
}
