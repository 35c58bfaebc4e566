"""How fast batches are made of JPEG files, beside torch's DataLoader; README.md has the table.

    pip install torch
    python -m experiments.loader_speed.run [--path DIR --size HEIGHT WIDTH] [--batches N]

Decode, random resized crop, flip, random erasing, normalisation: to float32 images that a step can
use. The files are generated photographs, or those of a folder of class folders. Each side runs in a
process of its own. They take turns, and a figure is the median over the turns. What a core does is
counted in images for a second of processor time, of all threads and workers, which other programs
on the machine do not change; the other figures are for a second on the wall, on two cores.

The DataLoader runs with workers, as it does beside training, and without, which spares it the way
between processes but leaves the device waiting.
"""

import argparse
import io
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH, CORES = 32, 2
# Width and height of the photographs -> height and width of the images made of them.
CASES = {(500, 375): (224, 224), (64, 128): (256, 128), (1600, 1200): (224, 224)}
HEADS = (
    *("photographs", "images", "ours", "DataLoader", "without workers", "ratio", "without"),
    *("wall: ours", "cached", "DataLoader", "ratio"),
)


class Rate(NamedTuple):
    """Images for a second of processor time, and for a second on the wall."""

    processor: float
    wall: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--path", type=Path, help="a folder of class folders of .jpg")
    parser.add_argument("--size", type=int, nargs=2, default=(224, 224), help="height and width")
    parser.add_argument("--batches", type=int, default=20, help="that are timed")
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        cases = {}
        if arguments.path:
            cases[arguments.path.name] = (arguments.path, tuple(arguments.size))
        for (width, height), size in {} if cases else CASES.items():
            name = f"{width}x{height}"
            cases[name] = (draw(Path(folder) / name, (width, height)), size)
        for name, (path, size) in cases.items():
            rates = compare(path, size, arguments.batches, arguments.turns)
            print(f"| {name} | {size[1]}x{size[0]} | {' | '.join(row(rates))} |", flush=True)


def compare(path: Path, size: tuple[int, int], number: int, turns: int) -> dict[str, Rate]:
    """The median rates of each way to make the batches."""
    makers: dict[str, tuple[Callable[..., Rate], dict[str, int]]] = {
        "ours": (ours, {"cache_mib": 0}),
        "cached": (ours, {"cache_mib": 4096}),
        "workers": (theirs, {"workers": CORES}),
        "alone": (theirs, {"workers": 0}),
    }
    taken: dict[str, list[Rate]] = {name: [] for name in makers}
    for _ in range(turns):
        for name, (maker, options) in makers.items():
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                taken[name].append(pool.submit(maker, path, size, number, **options).result())
    return {
        name: Rate(median(r.processor for r in rates), median(r.wall for r in rates))
        for name, rates in taken.items()
    }


def row(rates: dict[str, Rate]) -> list[str]:
    """The figures of one line of the table."""
    own, others = rates["ours"], [rates["workers"], rates["alone"]]
    processor = [f"{own.processor:.0f}", *(f"{r.processor:.0f}" for r in others)]
    wall = [f"{rates[name].wall:.0f}" for name in ("ours", "cached", "workers")]
    ratios = [f"{own.processor / r.processor:.2f}" for r in others]
    return [*processor, *ratios, *wall, f"{own.wall / rates['workers'].wall:.2f}"]


def ours(path: Path, size: tuple[int, int], number: int, *, cache_mib: int) -> Rate:
    """The rates of this package."""
    _hold_cores()
    import jax

    from darkrank_jax.data import SOURCES, batches
    from darkrank_jax.training.step import normalize_images

    train = SOURCES["images"](
        path=str(path),
        image_size=size,
        cache_mib=cache_mib,
        inspect_images=False,
        validation_fraction=0.01,
        test_fraction=0.01,
    )["train"]
    if cache_mib:
        # Every picture once, so that what is timed finds them all.
        for start in range(0, len(train.labels), BATCH):
            _ = train.images[start : start + BATCH]
    normalize = jax.jit(lambda images: normalize_images(images, MEAN, STD))
    stream = batches(
        train,
        seed=0,
        first_step=0,
        num_steps=10**6,
        batch_size=BATCH,
        images_per_class=8,
        augmentation={
            "random_resized_crop": {"area": (0.2, 1.0)},
            "horizontal_flip": {},
            "random_erasing": {"area": (0.02, 0.2)},
        },
        num_threads=CORES,
    )
    return _rate(number, lambda: normalize(next(stream)["images"]).block_until_ready())


def theirs(path: Path, size: tuple[int, int], number: int, *, workers: int) -> Rate:
    """The rates of torch's DataLoader."""
    _hold_cores()
    from experiments.loader_speed import others

    stream = others.batches(path, size, MEAN, STD, BATCH, workers)
    return _rate(number, lambda: next(stream))


def _rate(number: int, make: Callable[[], Any]) -> Rate:
    """Rates once warm: what was made ahead of the clock is made again behind its end."""
    for _ in range(6):
        make()
    wall, processor = time.perf_counter(), _processor_seconds()
    for _ in range(number):
        make()
    wall, processor = time.perf_counter() - wall, _processor_seconds() - processor
    return Rate(BATCH * number / processor, BATCH * number / wall)


def _hold_cores() -> None:
    """Keeps this process and its children to some cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def _processor_seconds() -> float:
    """Of this process and its children; the system tells a child's as it goes in /proc."""
    ticks = 0
    for child in multiprocessing.active_children():
        fields = (
            Path(f"/proc/{child.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        )
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def draw(folder: Path, size: tuple[int, int], images: int = 768) -> Path:
    """Photographs of no thing, with detail at every scale as real ones have, in 12 classes."""
    width, height = size
    rng = np.random.default_rng(0)
    for number in range(images):
        levels = rng.normal(0, 6, (height, width, 3))
        for scale in (4, 16, 64):
            coarse = rng.normal(128, 1.5 * scale, (height // scale + 2, width // scale + 2, 3))
            part = Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8))
            levels += np.asarray(part.resize(size, Image.Resampling.BICUBIC), float) - 128
        buffer = io.BytesIO()
        picture = Image.fromarray(np.clip(levels + 128, 0, 255).astype(np.uint8))
        picture.save(buffer, "JPEG", quality=90)
        path = folder / str(number % 12) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())
    return folder


if __name__ == "__main__":
    main()
