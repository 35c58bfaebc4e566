"""Which part of a picture becomes an image: functions of its size, without its pixels."""

from collections.abc import Callable

import numpy as np

from darkrank_jax.data.pixels.resampling import Box

# (width, height) of a picture to the part of it that counts.
Crop = Callable[[int, int], Box]

# Draws of a random part before the middle is taken.
_ATTEMPTS = 10


def whole(width: int, height: int) -> Box:
    """The whole picture, stretched where its shape is not the image's."""
    return (0, 0, width, height)


def center_crop(width: int, height: int, size: tuple[int, int], *, share: float = 1.0) -> Box:
    """The middle of a picture, in the shape of the image.

    Args:
      width: of the picture.
      height: of the picture.
      size: height and width of the image, whose shape counts.
      share: of the side of the largest part that fits; 0.875 is a crop of 224 after the shorter
        side was resized to 256.

    Returns:
      The part.

    Example:
      >>> center_crop(200, 100, (64, 64), share=0.5)
      (75.0, 25.0, 125.0, 75.0)
    """
    part_width, part_height = _largest(width, height, size, share)
    left, top = (width - part_width) / 2, (height - part_height) / 2
    return (left, top, left + part_width, top + part_height)


def resized_random_crop(
    width: int,
    height: int,
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    share: float = 0.875,
) -> Box:
    """A part of fixed size and shape anywhere; see `center_crop` for `share`."""
    part_width, part_height = _largest(width, height, size, share)
    left, top = rng.uniform(0, width - part_width), rng.uniform(0, height - part_height)
    return (left, top, left + part_width, top + part_height)


def random_resized_crop(
    width: int,
    height: int,
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    area: tuple = (0.3, 1.0),
    ratio: tuple = (0.75, 4 / 3),
) -> Box:
    """A part of random area and shape anywhere, resized to the image.

    Area is uniform, shape is uniform in its logarithm; where ten draws do not fit, the largest
    middle part of the nearest shape is taken. As torchvision's transform of this name, but that
    the shape is relative to the image's, which makes a difference where that is no square.

    Args:
      width: of the picture.
      height: of the picture.
      size: height and width of the image.
      rng: random numbers.
      area: smallest and largest share of the picture.
      ratio: smallest and largest width / height, as factors of the image's.

    Returns:
      The part, of whole pixels.
    """
    shape = size[1] / size[0]
    logarithms = np.log(ratio)
    for _ in range(_ATTEMPTS):
        pixels = width * height * rng.uniform(*area)
        aspect = shape * np.exp(rng.uniform(*logarithms))
        part_width, part_height = round(np.sqrt(pixels * aspect)), round(np.sqrt(pixels / aspect))
        if 0 < part_width <= width and 0 < part_height <= height:
            left = int(rng.integers(0, width - part_width + 1))
            top = int(rng.integers(0, height - part_height + 1))
            return (left, top, left + part_width, top + part_height)
    aspect = min(max(width / height, shape * ratio[0]), shape * ratio[1])
    return center_crop(width, height, (1000, round(1000 * aspect)))


def _largest(width: int, height: int, size: tuple[int, int], share: float) -> tuple[float, float]:
    """Width and height of a share of the largest part that has the image's shape."""
    factor = share * min(width / size[1], height / size[0])
    return min(width, factor * size[1]), min(height, factor * size[0])


# Each takes width, height, size and rng, and keyword arguments of its own.
CROPS: dict[str, Callable[..., Box]] = {
    "random_resized_crop": random_resized_crop,
    "resized_random_crop": resized_random_crop,
}
