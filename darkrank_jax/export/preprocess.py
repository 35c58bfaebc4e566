"""From a picture's file to the network's input, with Pillow, NumPy and OpenCV alone.

`--mode export` copies this file beside the network, with the constants below as the network has
them: `numpy.stack([preprocess(path), ...])` is what the exported files take.
"""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

# Pixels; "RGB" or "L"; share of the largest middle part that is kept, 0: the whole picture.
HEIGHT, WIDTH, MODE, SHARE = 224, 224, "RGB", 1.0


def preprocess(path: str | Path) -> np.ndarray:
    """The image as the network takes it, uint8 [HEIGHT, WIDTH, 1 or 3]."""
    pixels = decode(path)
    return pixels if pixels.shape[:2] == (HEIGHT, WIDTH) else resize(middle(pixels))


def decode(path: str | Path) -> np.ndarray:
    """Upright pixels, at least twice the size of the image where the file has as many."""
    with Image.open(path) as picture:
        lies = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        size = (HEIGHT, WIDTH) if lies else (WIDTH, HEIGHT)
        # JPEG is reduced while it is decoded.
        picture.draft(MODE, (2 * size[0], 2 * size[1]))
        upright = ImageOps.exif_transpose(picture)
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        paper = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(paper, upright.convert("RGBA"))
    elif upright.mode.startswith("I;16"):
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    image = upright.convert(MODE)
    factor = min(image.height // (2 * HEIGHT), image.width // (2 * WIDTH))
    image = image.reduce(factor) if factor > 1 else image
    return np.asarray(image).reshape(image.height, image.width, -1)


def middle(pixels: np.ndarray) -> np.ndarray:
    """A share of the largest middle part of the image's shape."""
    height, width = pixels.shape[:2]
    factor = SHARE * min(width / WIDTH, height / HEIGHT)
    across, down = min(width, factor * WIDTH), min(height, factor * HEIGHT)
    if not SHARE:
        across, down = width, height
    left, top = (width - across) / 2, (height - down) / 2
    columns = slice(int(left + 0.5), max(int(left + 0.5) + 1, int(left + across + 0.5)))
    return pixels[int(top + 0.5) : max(int(top + 0.5) + 1, int(top + down + 0.5)), columns]


def resize(pixels: np.ndarray) -> np.ndarray:
    """Bilinear: averaged by whole pixels, smoothed as far as it is reduced, and interpolated."""
    if pixels.shape[:2] == (HEIGHT, WIDTH):
        return pixels
    height, width = pixels.shape[:2]
    down, across = max(1, height // (2 * HEIGHT)), max(1, width // (2 * WIDTH))
    if max(down, across) > 1:
        height, width = height // down, width // across
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    if height > HEIGHT or width > WIDTH:
        kernels = (smoothing(width / WIDTH), smoothing(height / HEIGHT))
        pixels = cv2.sepFilter2D(pixels, -1, *kernels, borderType=cv2.BORDER_REFLECT)
    pixels = cv2.resize(pixels, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    return pixels.reshape(HEIGHT, WIDTH, -1)


def smoothing(scale: float) -> np.ndarray:
    """Weights of variance (scale^2 - 1) / 6 in 256ths, with which OpenCV is exact."""
    variance = (scale**2 - 1) / 6 if scale > 1 else 0.0
    steps = max(1, int(np.ceil(2 * variance)))
    aside, weights = variance / (2 * steps), np.ones(1)
    for _ in range(steps):
        weights = np.convolve(weights, [aside, 1 - 2 * aside, aside])
    weights = np.round(256 * weights) / 256
    weights[steps] += 1 - weights.sum()
    return weights
