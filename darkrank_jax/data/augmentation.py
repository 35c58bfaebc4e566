"""Random changes of one image: functions of the image and a generator, by name in a table."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image


def random_affine(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    degrees: float = 0.0,
    translate: float = 0.0,
    scale: tuple = (1.0, 1.0),
    shear: float = 0.0,
) -> np.ndarray:
    """Turns, shifts, scales and shears about the middle; what comes in is the corners' median.

    Args:
      image: uint8 [h, w, c].
      rng: random numbers.
      degrees: largest turn to either side.
      translate: largest shift, as a share of the image's size.
      scale: smallest and largest factor.
      shear: largest shear, as shift for each pixel of height.

    Returns:
      uint8 [h, w, c].
    """
    height, width = image.shape[:2]
    angle = np.deg2rad(rng.uniform(-degrees, degrees))
    factor = rng.uniform(*scale)
    slant = rng.uniform(-shear, shear)
    shift = rng.uniform(-translate, translate, size=2) * (width, height)
    cos, sin = np.cos(angle) / factor, np.sin(angle) / factor
    # Pillow asks for the way back: from a place of the result to one of the image.
    a, b, d, e = cos, sin + cos * slant, -sin, cos - sin * slant
    middle_x, middle_y = (width / 2, height / 2)
    x, y = middle_x + shift[0], middle_y + shift[1]
    c, f = middle_x - a * x - b * y, middle_y - d * x - e * y
    fill = np.median(image[[0, 0, -1, -1], [0, -1, 0, -1]], axis=0).astype(int).tolist()
    picture = _to_pillow(image)
    moved = picture.transform(
        picture.size,
        Image.Transform.AFFINE,
        (a, b, c, d, e, f),
        resample=Image.Resampling.BILINEAR,
        fillcolor=tuple(fill) if len(fill) == 3 else fill[0],
    )
    return _from_pillow(moved)


def random_crop(image: np.ndarray, rng: np.random.Generator, *, padding: int = 4) -> np.ndarray:
    """Pads by repeating the border and crops the image's size anywhere."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode="edge")
    top, left = rng.integers(0, 2 * padding + 1, size=2)
    return padded[top : top + height, left : left + width]


def random_resized_crop(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    area: tuple = (0.3, 1.0),
    ratio: tuple = (0.75, 4 / 3),
) -> np.ndarray:
    """Crops a part of random area and aspect ratio and resizes it to the image's size.

    Args:
      image: uint8 [h, w, c].
      rng: random numbers.
      area: smallest and largest share of the image.
      ratio: smallest and largest width / height.

    Returns:
      uint8 [h, w, c].
    """
    height, width = image.shape[:2]
    share = rng.uniform(*area) * height * width
    aspect = np.exp(rng.uniform(*np.log(ratio)))
    crop_width = min(width, max(1, round(np.sqrt(share * aspect))))
    crop_height = min(height, max(1, round(np.sqrt(share / aspect))))
    left = int(rng.integers(0, width - crop_width + 1))
    top = int(rng.integers(0, height - crop_height + 1))
    picture = _to_pillow(image)
    box = (left, top, left + crop_width, top + crop_height)
    return _from_pillow(picture.resize(picture.size, Image.Resampling.BILINEAR, box=box))


def horizontal_flip(
    image: np.ndarray, rng: np.random.Generator, *, probability: float = 0.5
) -> np.ndarray:
    """Mirrors left and right with a probability."""
    return image[:, ::-1] if rng.random() < probability else image


def random_erasing(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    probability: float = 0.5,
    area: tuple = (0.02, 0.2),
) -> np.ndarray:
    """Covers a rectangle with the image's mean colour (Zhong et al., AAAI 2020).

    Args:
      image: uint8 [h, w, c].
      rng: random numbers.
      probability: of covering anything.
      area: smallest and largest share of the image.

    Returns:
      uint8 [h, w, c].
    """
    if rng.random() >= probability:
        return image
    height, width = image.shape[:2]
    share = rng.uniform(*area) * height * width
    aspect = np.exp(rng.uniform(np.log(0.3), np.log(1 / 0.3)))
    rows = min(height, max(1, round(np.sqrt(share * aspect))))
    columns = min(width, max(1, round(np.sqrt(share / aspect))))
    top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
    erased = image.copy()
    erased[top : top + rows, left : left + columns] = image.mean(axis=(0, 1)).astype(np.uint8)
    return erased


def brightness_contrast(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    brightness: float = 0.2,
    contrast: float = 0.2,
) -> np.ndarray:
    """Adds up to `brightness` of the full range; stretches about the mean by 1 +- `contrast`."""
    added = rng.uniform(-brightness, brightness) * 255
    factor = 1 + rng.uniform(-contrast, contrast)
    mean = image.mean()
    return np.clip((image - mean) * factor + mean + added, 0, 255).astype(np.uint8)


AUGMENTATIONS: dict[str, Callable[..., np.ndarray]] = {
    "brightness_contrast": brightness_contrast,
    "horizontal_flip": horizontal_flip,
    "random_affine": random_affine,
    "random_crop": random_crop,
    "random_erasing": random_erasing,
    "random_resized_crop": random_resized_crop,
}


def augment(
    image: np.ndarray, augmentation: Mapping[str, Mapping[str, Any]], rng: np.random.Generator
) -> np.ndarray:
    """Applies named augmentations in their order.

    Args:
      image: uint8 [h, w, c].
      augmentation: name in AUGMENTATIONS -> its keyword arguments.
      rng: random numbers of this image.

    Returns:
      uint8 [h, w, c].
    """
    for name, arguments in augmentation.items():
        image = AUGMENTATIONS[name](image, rng, **arguments)
    return image


def _to_pillow(image: np.ndarray) -> Image.Image:
    """An array [h, w, 1 or 3] as a picture."""
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def _from_pillow(picture: Image.Image) -> np.ndarray:
    """A picture as an array [h, w, 1 or 3]."""
    array = np.asarray(picture)
    return array[:, :, None] if array.ndim == 2 else array
