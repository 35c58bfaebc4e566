"""An image turned, scaled, sheared and shifted about its middle."""

import numpy as np
from PIL import Image

from darkrank_jax.data.pixels.pictures import to_array, to_picture


def warp(
    image: np.ndarray,
    *,
    angle: float = 0.0,
    factor: float = 1.0,
    shear: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Moves an image, bilinear; what comes in is the median of its corners.

    Args:
      image: uint8 [h, w, 1 or 3].
      angle: of the turn, in radians.
      factor: of the size.
      shear: shift to the side for each pixel of height.
      shift: right and down, as shares of width and height.

    Returns:
      uint8 [h, w, c].

    Example:
      >>> warp(np.array([[[9], [1], [5], [9]]], np.uint8), shift=(0.25, 0.0))[0, :, 0].tolist()
      [9, 9, 1, 5]
    """
    height, width = image.shape[:2]
    cos, sin = np.cos(angle) / factor, np.sin(angle) / factor
    # Pillow asks for the way back: from a place of the result to one of the image.
    a, b, d, e = cos, sin + cos * shear, -sin, cos - sin * shear
    middle_x, middle_y = (width / 2, height / 2)
    x, y = middle_x + shift[0] * width, middle_y + shift[1] * height
    c, f = middle_x - a * x - b * y, middle_y - d * x - e * y
    fill = np.median(image[[0, 0, -1, -1], [0, -1, 0, -1]], axis=0).astype(int).tolist()
    picture = to_picture(image)
    moved = picture.transform(
        picture.size,
        Image.Transform.AFFINE,
        (a, b, c, d, e, f),
        resample=Image.Resampling.BILINEAR,
        fillcolor=tuple(fill) if len(fill) == 3 else fill[0],
    )
    return to_array(moved)
