"""How fast the losses are, beside others in the same run; README.md has the table.

    pip install torch pytorch-metric-learning
    python -m experiments.loss_speed.run [--only PART ...] [--rounds N] [--largest BATCH]

Value and gradient, ours compiled with jit, PyTorch's eager as people call it, both on all cores.
Each library has a process of its own, and the two take turns; a time is the median over all turns.
Peak memory is what a fresh process adds to its size while it computes once.
"""

import argparse
import functools
import importlib
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from statistics import median
from typing import Any, NamedTuple

OURS, OTHERS = "experiments.loss_speed.ours", "experiments.loss_speed.others"
BATCHES = (128, 256, 512, 1024, 2048)
# Seconds of one turn, of all turns, and the most repetitions in a turn; at least one is measured.
TURN, ENOUGH, REPETITIONS = 1.0, 10.0, 10
COLUMNS = (
    "loss", "list", "batch", "ours, ms", "other, ms", "times as fast", "ours, MiB", "other, MiB",
    "other",
)  # fmt: skip


class Work(NamedTuple):
    """A loss at a batch size, as `build` of a module takes it."""

    module: str
    name: str
    batch: int
    options: tuple[tuple[str, Any], ...] = ()


class Clock(NamedTuple):
    """Takes the times; one process for each module."""

    workers: dict[str, ProcessPoolExecutor]
    rounds: int
    batches: tuple[int, ...]

    def __call__(self, *works: Work) -> list[float]:
        """Median milliseconds of each, in turns."""
        taken: list[list[float]] = [[] for _ in works]
        for _ in range(self.rounds):
            if sum(map(sum, taken)) > 1e3 * ENOUGH:
                break
            for own, work in zip(taken, works, strict=True):
                own += self.workers[work.module].submit(_turn, work).result()
        return [median(own) for own in taken]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some rows")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each loss")
    parser.add_argument("--largest", type=int, default=BATCHES[-1], help="largest batch")
    arguments = parser.parse_args()
    workers = {module: _process() for module in (OURS, OTHERS)}
    batches = tuple(batch for batch in BATCHES if batch <= arguments.largest)
    clock = Clock(workers, arguments.rounds, batches)
    # PyTorch suffers more than XLA from whatever else runs: measure on an idle machine.
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for part in arguments.only:
        for row in PARTS[part](clock):
            print(f"| {' | '.join(row.get(column, '') for column in COLUMNS)} |", flush=True)
    for worker in workers.values():
        worker.shutdown()


def _soft(clock: Clock) -> Iterator[dict[str, str]]:
    """Against an enumeration of all orders, as far as that goes."""
    for size in (4, 5, 6, 7, 8):
        yield _against(clock, "darkrank_soft", 128, "all permutations", list_size=size)
    for size, batch in ((10, 128), (12, 128), (14, 32), (16, 32)):
        yield _alone(clock, "darkrank_soft", batch, list_size=size)


def _hard(clock: Clock) -> Iterator[dict[str, str]]:
    """Against the common formula, and beyond its reach against the best that PyTorch has."""
    for batch in clock.batches:
        yield _against(clock, "darkrank_hard", batch, "logsumexp each position", list_size=4)
    for batch in clock.batches:
        if batch <= 512:  # batch^3 steps
            yield _against(
                clock, "darkrank_hard", batch, "logsumexp each position", list_size=batch - 1
            )
        yield _against(
            clock, "darkrank_hard", batch, "logcumsumexp", "_cumulative", list_size=batch - 1
        )


def _rkd(clock: Clock) -> Iterator[dict[str, str]]:
    """Time and memory; PyTorch's angles hold some seven arrays of batch^3 floats."""
    for name in ("rkd_distance", "rkd_angle"):
        for batch in clock.batches:
            fits = name == "rkd_distance" or 7 * 4 * batch**3 < 8 * 2**30
            row = _against(clock, name, batch, "PyTorch") if fits else _alone(clock, name, batch)
            row["ours, MiB"] = f"{_peak(Work(OURS, name, batch)):.0f}"
            row["other, MiB"] = f"{_peak(Work(OTHERS, name, batch)):.0f}" if fits else ""
            yield row if fits else row | {"other": "PyTorch does not fit"}


def _labels(clock: Clock) -> Iterator[dict[str, str]]:
    """Against pytorch-metric-learning."""
    for name in LABELLED:
        for batch in clock.batches[:3]:
            yield _against(clock, name, batch, "pytorch-metric-learning")


def _shares(clock: Clock) -> Iterator[dict[str, str]]:
    """Each loss beside a step of a network."""
    from darkrank_jax.losses import LOSSES
    from experiments.loss_speed.ours import STEP

    (step,) = clock(Work(OURS, STEP, 128))
    yield {"loss": STEP, "batch": "128", "ours, ms": f"{step:.0f}"}
    for name, (_, inputs) in LOSSES.items():
        if set(inputs) <= {"embeddings", "teacher_embeddings", "labels", "class_weights"}:
            options = (("list_size", 127),) if name == "darkrank_hard" else ()
            (ours,) = clock(Work(OURS, name, 128, options))
            share = {"other": f"{ours / step:.3%} of the step"}
            yield {"loss": name, "batch": "128", "ours, ms": f"{ours:.2f}"} | share


LABELLED = (
    "triplet", "multi_similarity", "supcon", "proxy_anchor", "contrastive", "circle", "margin",
    "proxy_nca", "arcface", "cosface",
)  # fmt: skip
PARTS: dict[str, Callable[[Clock], Iterator[dict[str, str]]]] = {
    "soft": _soft, "hard": _hard, "rkd": _rkd, "labels": _labels, "shares": _shares,
}  # fmt: skip


def _against(
    clock: Clock, name: str, batch: int, other: str, form: str = "", **options: Any
) -> dict[str, str]:
    """A row with another implementation."""
    given = tuple(options.items())
    ours, theirs = clock(Work(OURS, name, batch, given), Work(OTHERS, name + form, batch, given))
    times = {"ours, ms": f"{ours:.2f}", "other, ms": f"{theirs:.2f}"}
    return _head(name, batch, options) | times | {
        "times as fast": f"{theirs / ours:.1f}", "other": other,
    }  # fmt: skip


def _alone(clock: Clock, name: str, batch: int, **options: Any) -> dict[str, str]:
    """A row with our loss alone."""
    (ours,) = clock(Work(OURS, name, batch, tuple(options.items())))
    return _head(name, batch, options) | {"ours, ms": f"{ours:.2f}"}


def _head(name: str, batch: int, options: dict[str, Any]) -> dict[str, str]:
    return {"loss": name, "batch": str(batch), "list": str(options.get("list_size", ""))}


def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


@functools.lru_cache(1)
def _built(work: Work) -> Callable[[], Any]:
    """What computes a loss, after the first call, which compiles."""
    module = importlib.import_module(work.module)
    run = module.build(work.name, work.batch, **dict(work.options))
    run()
    return run


def _turn(work: Work) -> list[float]:
    """Milliseconds of the calls of one turn; the first warms up, and counts only if alone."""
    run = _built(work)
    taken: list[float] = []
    while sum(taken) < 1e3 * TURN and len(taken) <= REPETITIONS:
        start = time.perf_counter()
        run()
        taken.append(1e3 * (time.perf_counter() - start))
    return taken[1:] or taken


def _peak(work: Work) -> float:
    """MiB that a fresh process grows by while it computes value and gradient once."""
    with _process() as process:
        return process.submit(_growth, work).result()


def _growth(work: Work) -> float:
    _built(work._replace(batch=8))  # what the library itself takes
    before = _largest_size()
    _built(work)
    return (_largest_size() - before) / 2**20


def _largest_size() -> float:
    """Bytes; the system counts in KiB, but macOS in bytes."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
