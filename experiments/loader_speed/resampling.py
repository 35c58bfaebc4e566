"""How near our resampling is to Pillow's, and how much faster; README.md has the table.

    python -m experiments.loader_speed.resampling IMAGES

IMAGES: a folder of image files, or a .zip. Each is resampled whole to 1 / s of its size.
"""

import argparse
import functools
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from darkrank_jax.data.files.archives import open_entries
from darkrank_jax.data.pixels.pictures import SUFFIXES, decode, to_picture
from darkrank_jax.data.pixels.resampling import cut

SCALES = (0.7, 1.2, 1.5, 2.0, 2.6, 3.6, 7.3)
# At this size asked for, nothing is reduced while it is decoded.
_LARGE = (1 << 20, 1 << 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--count", type=int, default=40)
    arguments = parser.parse_args()
    entries = open_entries(arguments.images)
    names = sorted(name for name in entries.names if name.lower().endswith(SUFFIXES))
    chosen = names[:: max(1, len(names) // arguments.count)][: arguments.count]
    pictures = [decode(entries.read(n), n, size=_LARGE, grayscale=False) for n in chosen]
    print(
        "| s | difference, levels | without antialiasing | time, of Pillow's |\n|---|---|---|---|"
    )
    for scale in SCALES:
        print(f"| {scale} | {' | '.join(compare(pictures, scale))} |")


def compare(pictures: list[np.ndarray], scale: float) -> list[str]:
    """Root mean square differences from Pillow, and the share of its time."""
    squares, plain, shares = [], [], []
    for pixels in pictures:
        height, width = pixels.shape[:2]
        rows, columns = max(1, round(height / scale)), max(1, round(width / scale))
        picture = to_picture(pixels)
        box = (0, 0, width, height)
        ours, ours_took = timed(functools.partial(cut, pixels, box, (rows, columns)))
        theirs, theirs_took = timed(
            functools.partial(picture.resize, (columns, rows), Image.Resampling.BILINEAR)
        )
        affine = (width / columns, 0, 0, 0, height / rows, 0)
        aliased = picture.transform(
            (columns, rows), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
        )
        expected = np.asarray(theirs, float)
        squares.append(((ours - expected) ** 2).mean())
        plain.append(((np.asarray(aliased) - expected) ** 2).mean())
        shares.append(ours_took / theirs_took)
    differences = [f"{np.sqrt(np.mean(each)):.2f}" for each in (squares, plain)]
    return [*differences, f"{median(shares):.2f}"]


def timed(make: Callable, repetitions: int = 7) -> tuple:
    """What is made, and the median of the seconds that it takes."""
    made, seconds = make(), []
    for _ in range(repetitions):
        start = time.perf_counter()
        make()
        seconds.append(time.perf_counter() - start)
    return made, median(seconds)


if __name__ == "__main__":
    main()
