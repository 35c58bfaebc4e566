"""How fast JPEG files become embeddings, beside PyTorch doing the same; README.md has the table.

    pip install torch torchvision timm
    python -m experiments.embedding_speed.run [--images 384] [--rounds 5] [--size 500 375]

Ours is `load_run(...).embed(paths)`; theirs a DataLoader of torchvision's transforms with a worker
for each core, and a network of torchvision or timm, eager (channels last) or compiled. Decode,
resize and crop are counted on both sides. Each engine has a process of its own, and they take
turns; the first turn, which compiles, is not counted.
"""

import argparse
import importlib
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

from darkrank_jax.cli.large_pages import TUNABLES
from experiments.loader_speed.run import draw
from experiments.refusing import refusing

ENGINES = {"ours": ("ours", True), "eager": ("others", False), "compiled": ("others", True)}


class Case(NamedTuple):
    """A network of MODELS and the side of its images."""

    network: str
    pixels: int


CASES = (
    Case("mobilenet_v2", 96),
    Case("mobilenet_v2", 224),
    Case("resnet18", 96),
    Case("resnet18", 224),
)
_embed = []


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, nargs=2, default=(500, 375), help="width and height")
    arguments = parser.parse_args()
    os.environ.setdefault(*TUNABLES)
    heads = ("network", "pixels", "ours, images/s", "PyTorch eager", "compiled", "ours / eager")
    print(f"| {' | '.join(heads)} | ours / compiled |\n|{7 * '---|'}")
    with refusing(), tempfile.TemporaryDirectory() as folder:
        photographs = draw(Path(folder), tuple(arguments.size), arguments.images)
        paths = sorted(map(str, photographs.rglob("*.jpg")))
        for case in CASES:
            speeds = measure(case, paths, arguments.rounds)
            ours = speeds["ours"]
            ratios = (
                median(own / other for own, other in zip(ours, speeds[name], strict=True))
                for name in ("eager", "compiled")
            )
            figures = [f"{median(each):,.0f}" for each in speeds.values()]
            figures += [f"{ratio:.2f}" for ratio in ratios]
            print(f"| {case.network} | {case.pixels} | {' | '.join(figures)} |", flush=True)


def measure(case: Case, paths: list[str], rounds: int) -> dict[str, list[float]]:
    """Images in a second of each engine in each round."""
    spawn = multiprocessing.get_context("spawn")
    workers = {name: ProcessPoolExecutor(1, spawn) for name in ENGINES}
    try:
        for name, worker in workers.items():
            worker.submit(_build, *ENGINES[name], case, paths).result()
        speeds = {name: [] for name in ENGINES}
        for _ in range(rounds):
            for name, worker in workers.items():
                speeds[name].append(len(paths) / worker.submit(_turn, paths).result())
    finally:
        for worker in workers.values():
            worker.shutdown()
    return speeds


def _build(module: str, compiled: bool, case: Case, paths: list[str]) -> None:
    """Makes a process's engine and embeds all images once."""
    library = importlib.import_module(f"experiments.embedding_speed.{module}")
    _embed.append(library.embedder(*case, compiled))
    _turn(paths)


def _turn(paths: list[str]) -> float:
    """Seconds of embedding all images."""
    start = time.perf_counter()
    embeddings = _embed[0](paths)
    assert embeddings.shape[0] == len(paths)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
