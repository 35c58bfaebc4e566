"""How fast teacher and student embed in each runtime, and how well; README.md has the table.

    pip install ".[export]" torch
    DARKRANK_DATA=DIR python -m darkrank_jax.main --config configs/omniglot.py
    DARKRANK_DATA=DIR python -m experiments.inference_speed.run [--workdir runs/omniglot]

Exports teacher and student in every format. Each runtime embeds in a fresh process, on all cores,
since the threads of one would wait in the way of another's; in several rounds, so that what else
the machine does meets all of them. A time is the median of a process, then of the rounds. PyTorch
runs the same weights, from the safetensors, by torch.compile. Writes results.csv.
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import jax
import numpy as np

from darkrank_jax.evaluation.retrieval import retrieval_metrics
from darkrank_jax.export.command import export_run
from darkrank_jax.export.formats import FORMATS
from darkrank_jax.export.source import load_source
from darkrank_jax.files import write_csv
from darkrank_jax.inference.load import load_run
from darkrank_jax.runs.splits import Splits
from darkrank_jax.workdir.run_file import recorded_run
from experiments.refusing import refusing

HERE = Path(__file__).parent
BATCH, REPETITIONS = 64, 50
# Runtime -> the format that it runs; the checkpoint itself for JAX.
RUNTIMES = {
    "JAX": "",
    "StableHLO": "stablehlo",
    "StableHLO, int8 weights": "stablehlo_int8",
    "ONNX Runtime": "onnx",
    "ONNX Runtime, int8": "onnx_int8",
    "PyTorch, compiled": "safetensors",
}
COLUMNS = ("network", "runtime", "megabytes", "recall_at_1", "milliseconds", "images_per_second")
Embed = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workdir", type=Path, default=Path("runs/omniglot"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=0, help="of the test split; 0: all")
    parser.add_argument("--output", type=Path, default=HERE)
    arguments = parser.parse_args()
    workdirs = {"teacher": arguments.workdir / "teacher", "student": arguments.workdir}
    with refusing():
        Splits()[recorded_run(arguments.workdir).data]
        for workdir in workdirs.values():
            export_run(workdir)
    cases = [(name, runtime) for name in workdirs for runtime in RUNTIMES]
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {case: [] for case in cases}
    for round_ in range(arguments.rounds):
        for name, runtime in cases:
            # Only the first round embeds all of them, for the recall.
            count = arguments.images if round_ == 0 else BATCH
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                job = process.submit(_measure, workdirs[name], runtime, count)
                found[name, runtime].append(job.result())
    rows = []
    for (name, runtime), each in found.items():
        _, one, batch = np.median(each, axis=0)
        size = _megabytes(workdirs[name], runtime)
        rows.append((name, runtime, size, each[0][0], 1e3 * one, BATCH / batch))
    with refusing():
        write_csv(arguments.output / "results.csv", COLUMNS, rows)
    print(f"\n{jax.devices()[0].device_kind}, jax {jax.__version__}\n\n{table(rows)}")


def table(rows: list[tuple]) -> str:
    """Each row beside the teacher in JAX, which is what one starts from."""
    _, _, size, recall, one, speed = rows[0]
    lines = [
        "| network | runtime | MB | Recall@1 | of the teacher's | ms, one image | images/s at 64 | "
        "smaller | faster, one | faster at 64 |",
        "|---|---|" + 8 * "---|",
    ]
    for name, runtime, *(own_size, own_recall, own_one, own_speed) in rows:
        lines.append(
            f"| {name} | {runtime} | {own_size:.2f} | {own_recall:.3f} | {own_recall / recall:.1%} "
            f"| {own_one:.2f} | {own_speed:,.0f} | {size / own_size:.1f} | {one / own_one:.1f} | "
            f"{own_speed / speed:.1f} |"
        )
    return "\n".join(lines)


def _measure(workdir: Path, runtime: str, count: int) -> tuple[float, float, float]:
    """Recall@1 on the first images of the test split, seconds for one image and for a batch."""
    embed = _load(workdir, runtime)
    test = Splits()[load_source(workdir).network.run.data]["test"]
    images, labels = test.images[: count or None], test.labels[: count or None]
    parts = [embed(_batch(images, start)) for start in range(0, len(images), BATCH)]
    recall = retrieval_metrics(np.concatenate(parts)[: len(images)], labels)["recall_at_1"]
    return recall, _seconds(embed, images[:1]), _seconds(embed, _batch(images, 0))


def _load(workdir: Path, runtime: str) -> Embed:
    """The function from uint8 images to embeddings."""
    path = _path(workdir, runtime)
    if runtime.startswith("PyTorch"):
        from experiments.inference_speed import torch_resnet

        return torch_resnet.load(path)
    return load_run(path).embed_batch


def _path(workdir: Path, runtime: str) -> Path:
    """What a runtime opens."""
    kind = RUNTIMES[runtime]
    return workdir / "export" / FORMATS[kind].file if kind else workdir


def _megabytes(workdir: Path, runtime: str) -> float:
    """The size of the file; of the parameters where there is none."""
    path = _path(workdir, runtime)
    if path.is_file():
        return path.stat().st_size / 1e6
    return 4e-6 * load_source(workdir).network.num_parameters()


def _seconds(embed: Embed, images: np.ndarray) -> float:
    """The median time of a call; what compiles is not counted."""
    embed(images)
    embed(images)
    taken = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        embed(images)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def _batch(images: np.ndarray, start: int) -> np.ndarray:
    """A whole batch, the first images again where there are no more."""
    return images[np.arange(start, start + BATCH) % len(images)]


if __name__ == "__main__":
    main()
