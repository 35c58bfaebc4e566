"""What more threads and more worker processes make of a batch's time; README.md has the table.

    python -m experiments.loader_speed.workers [--batch 256] [--pixels 224] [--batches 40]

Random resized crop and flip, of images that are decoded already, where Python's lock counts most,
and of JPEG files that are decoded each time. What was made ahead is used up before the clock runs.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from darkrank_jax.data import SOURCES, Split, batches
from experiments.loader_speed.run import draw

CORES = os.cpu_count() or 1
# As many as the photographs leave to train on.
CLASSES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--pixels", type=int, default=224)
    parser.add_argument("--batches", type=int, default=40)
    arguments = parser.parse_args()
    print(f"{CORES} cores, {arguments.batch} images of {arguments.pixels} px, ms a batch\n")
    print("| threads | workers | decoded | JPEG files |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        splits = (
            decoded(arguments.batch, arguments.pixels),
            files(Path(folder), arguments.pixels),
        )
        for threads, workers in settings():
            times = [
                milliseconds(split, arguments.batch, arguments.batches, threads, workers)
                for split in splits
            ]
            cells = [threads or "", workers or "", *(f"{taken:.1f}" for taken in times)]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


def settings() -> Iterator[tuple[int, int]]:
    """Threads and workers: ever more of one without the other, up to the cores."""
    numbers = [2**power for power in range(CORES.bit_length()) if 2**power <= CORES]
    yield from ((number, 0) for number in numbers)
    yield from ((0, number) for number in numbers)


def decoded(batch: int, pixels: int) -> Split:
    """Random pixels, four batches of them."""
    shape = (4 * batch, pixels, pixels, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    labels = (np.arange(4 * batch) % CLASSES).astype(np.int32)
    return Split(images, labels, tuple(map(str, range(CLASSES))))


def files(folder: Path, pixels: int) -> Split:
    """Generated photographs of 500x375, decoded each time they are asked for."""
    options = {"inspect_images": False, "validation_fraction": 0.01, "test_fraction": 0.01}
    path = draw(folder, (500, 375))
    return SOURCES["images"](path=str(path), image_size=pixels, cache_mib=0, **options)["train"]


def milliseconds(split: Split, batch: int, number: int, threads: int, workers: int) -> float:
    """Of a batch, once nothing is there that was made ahead."""
    stream = batches(
        split,
        seed=0,
        first_step=0,
        num_steps=10**9,
        batch_size=batch,
        images_per_class=batch // CLASSES,
        augmentation={"random_resized_crop": {}, "horizontal_flip": {}},
        num_threads=max(1, threads),
        num_workers=workers,
    )
    with closing(stream):
        for _ in range(2 * max(threads, workers) + 5):
            next(stream)
        start = time.perf_counter()
        for _ in range(number):
            next(stream)
        return 1e3 * (time.perf_counter() - start) / number


if __name__ == "__main__":
    main()
