"""Random changes of one image: functions of the image and a generator, by name in a table."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageEnhance

from darkrank_jax.data.pixels.crops import CROPS, Crop
from darkrank_jax.data.pixels.pictures import to_array, to_picture
from darkrank_jax.data.pixels.resampling import Box, cut
from darkrank_jax.data.pixels.trivial_augment import trivial_augment
from darkrank_jax.data.pixels.warping import warp


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
    angle = np.deg2rad(rng.uniform(-degrees, degrees))
    factor = rng.uniform(*scale)
    slant = rng.uniform(-shear, shear)
    across, down = rng.uniform(-translate, translate, size=2)
    return warp(image, angle=angle, factor=factor, shear=slant, shift=(across, down))


def random_crop(image: np.ndarray, rng: np.random.Generator, *, padding: int = 4) -> np.ndarray:
    """Pads by repeating the border and crops the image's size anywhere."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode="edge")
    top, left = rng.integers(0, 2 * padding + 1, size=2)
    return padded[top : top + height, left : left + width]


def horizontal_flip(
    image: np.ndarray, rng: np.random.Generator, *, probability: float = 0.5
) -> np.ndarray:
    """Mirrors left and right with a probability."""
    if rng.random() >= probability:
        return image
    return cv2.flip(image, 1).reshape(image.shape)


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
    aspect = math.exp(rng.uniform(math.log(0.3), math.log(1 / 0.3)))
    rows = min(height, max(1, round(math.sqrt(share * aspect))))
    columns = min(width, max(1, round(math.sqrt(share / aspect))))
    # By shares, so that an image of another size is covered at the same place.
    top = int(rng.random() * (height - rows + 1))
    left = int(rng.random() * (width - columns + 1))
    erased = image.copy()
    colour = cv2.mean(image)[: image.shape[2]]
    erased[top : top + rows, left : left + columns] = np.array(colour, np.uint8)
    return erased


def color_jitter(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
) -> np.ndarray:
    """Brightness, contrast, saturation and hue, each by a random amount, in random order.

    Args:
      image: uint8 [h, w, c]; of one channel, saturation and hue change nothing.
      rng: random numbers.
      brightness: the factor is between 1 - brightness, at least 0, and 1 + brightness.
      contrast: likewise, about the mean gray.
      saturation: likewise, about each pixel's gray.
      hue: largest turn of the colour circle to either side, 0 to 0.5.

    Returns:
      uint8 [h, w, c].
    """
    picture = to_picture(image)
    changes = {
        "brightness": (brightness, ImageEnhance.Brightness),
        "contrast": (contrast, ImageEnhance.Contrast),
        "saturation": (saturation, ImageEnhance.Color),
        "hue": (hue, None),
    }
    for name in rng.permutation(list(changes)).tolist():
        strength, enhance = changes[name]
        if enhance is None:
            picture = _turn_hue(picture, rng.uniform(-strength, strength))
        elif strength:
            factor = rng.uniform(max(0.0, 1 - strength), 1 + strength)
            picture = enhance(picture).enhance(factor)
    return to_array(picture)


def _turn_hue(picture: Image.Image, turn: float) -> Image.Image:
    """Every colour moved by a share of the colour circle."""
    if not turn or picture.mode == "L":
        return picture
    hue, saturation, value = picture.convert("HSV").split()
    moved = hue.point([(level + round(turn * 256)) % 256 for level in range(256)])
    return Image.merge("HSV", (moved, saturation, value)).convert("RGB")


def gaussian_blur(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    probability: float = 0.5,
    sigma: tuple = (0.0005, 0.009),
) -> np.ndarray:
    """Blurs with a probability (Chen et al., SimCLR, ICML 2020).

    Args:
      image: uint8 [h, w, c].
      rng: random numbers.
      probability: of blurring.
      sigma: smallest and largest width of the blur, as a share of the shorter side, so that an
        image of another size looks the same; 0.1 to 2 pixels of 224 by default.

    Returns:
      uint8 [h, w, c].
    """
    share = rng.uniform(*sigma)
    if rng.random() >= probability:
        return image
    width = share * min(image.shape[:2])
    return cv2.GaussianBlur(image, (0, 0), width).reshape(image.shape) if width else image


# In the order of use: shapes first, then colours, and what is covered comes last.
AUGMENTATIONS: dict[str, Callable[..., np.ndarray]] = {
    "random_affine": random_affine,
    "random_crop": random_crop,
    "horizontal_flip": horizontal_flip,
    "trivial_augment": trivial_augment,
    "color_jitter": color_jitter,
    "gaussian_blur": gaussian_blur,
    "random_erasing": random_erasing,
}


def augment(
    pictures: Sequence[np.ndarray],
    sizes: Sequence[tuple[int, int]],
    augmentation: Mapping[str, Mapping[str, Any]],
    rng: np.random.Generator,
    *,
    crop: Crop,
) -> list[np.ndarray]:
    """Cuts an image out of a picture and changes it, in one or several sizes.

    All sizes have the same part, and the same changes by the same random numbers.

    Args:
      pictures: uint8 [h, w, c], the same picture for each size, in pixels as many as it needs; they
        stay as they are.
      sizes: height and width of each image, of one shape.
      augmentation: name in CROPS or AUGMENTATIONS -> its keyword arguments. The crop comes first,
        the others in the order of AUGMENTATIONS.
      rng: random numbers of this image.
      crop: the part that is cut out where `augmentation` names no crop.

    Returns:
      uint8 [height, width, c] for each size.

    Example:
      >>> picture = np.arange(36, dtype=np.uint8).reshape(6, 6, 1)
      >>> sizes, rng = [(6, 6), (3, 3)], np.random.default_rng(0)
      >>> whole = lambda width, height: (0, 0, width, height)
      >>> [image.shape for image in augment([picture, picture], sizes, {}, rng, crop=whole)]
      [(6, 6, 1), (3, 3, 1)]
    """
    height, width = pictures[0].shape[:2]
    box = crop(width, height)
    for name in augmentation.keys() & CROPS.keys():
        box = CROPS[name](width, height, sizes[0], rng, **augmentation[name])
    images = [
        cut(picture, _scaled(box, (width, height), picture.shape[1::-1]), size)
        for picture, size in zip(pictures, sizes, strict=True)
    ]
    for name, change in AUGMENTATIONS.items():
        if name in augmentation:
            drawn = rng.bit_generator.state
            for place, image in enumerate(images):
                rng.bit_generator.state = drawn
                images[place] = change(image, rng, **augmentation[name])
    return images


def _scaled(box: Box, size: tuple[int, ...], other: tuple[int, ...]) -> Box:
    """A part of a picture of some width and height, in the pixels of one of another."""
    across, down = other[0] / size[0], other[1] / size[1]
    return (across * box[0], down * box[1], across * box[2], down * box[3])
