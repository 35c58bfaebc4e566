"""Where the time of a distillation step goes, beside the same step in PyTorch; README.md has it.

    pip install torch pytorch-metric-learning
    python -m experiments.step_anatomy.run [--batch 32] [--pixels 64] [--dtype float32]
        [--rounds 3] [--only ours eager compiled]

ResNet-50 to ResNet-18, five losses. Ours and PyTorch's, eager and compiled, have a process each, on
all cores, and take turns, part by part, so that what else the machine does meets all of them. A
time is the median over all turns; what there is after a round is printed.
"""

import argparse
import importlib
import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from statistics import median

from experiments.step_anatomy.batch import LOSSES, Sizes

ENGINES = {"ours": ("ours", True), "eager": ("others", False), "compiled": ("others", True)}
HEADS = {"ours": "ours", "eager": "PyTorch eager", "compiled": "PyTorch compiled"}
# Seconds of a turn and the most repetitions in it; one is measured at least.
TURN, REPETITIONS = 1.0, 20

_parts: dict[str, Callable[[], object]] = {}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    arguments = parser.parse_args()
    sizes = Sizes(arguments.batch, arguments.pixels, arguments.dtype)
    # On a GPU the others need memory beside ours.
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.4")
    spawn = multiprocessing.get_context("spawn")
    workers = {
        engine: ProcessPoolExecutor(1, spawn, _build, (*ENGINES[engine], sizes))
        for engine in arguments.only
    }
    # All at a time, since most of it is compilation.
    compiling = {engine: worker.submit(_compile) for engine, worker in workers.items()}
    taken: dict[str, dict[str, list[float]]] = {
        engine: {part: [] for part in names.result()} for engine, names in compiling.items()
    }
    print(f"{platform.processor() or platform.machine()}, batch {sizes.batch}, {sizes.pixels} px, "
          f"{sizes.dtype}")  # fmt: skip
    for number in range(1, arguments.rounds + 1):
        for part in max(taken.values(), key=len):
            for engine, worker in workers.items():
                if part in taken[engine]:
                    taken[engine][part] += worker.submit(_turn, part).result()
        times = medians(taken)
        print(f"\nafter {number} of {arguments.rounds} rounds\n\n{table(times, sizes.batch)}\n")
        if "ours" in times:
            print(workers["ours"].submit(_efficiency, sizes, times["ours"]["step"]).result())
    for worker in workers.values():
        worker.shutdown()


def medians(taken: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    """Seconds of every part, those of the backward pass by difference."""
    times = {
        engine: {part: median(own) for part, own in of.items()} for engine, of in taken.items()
    }
    for by_part in times.values():
        both, forward = by_part["student forward and backward"], by_part["student forward"]
        by_part["student backward"] = both - forward
    return times


def table(times: dict[str, dict[str, float]], batch: int) -> str:
    """Milliseconds of each part; shares of ours; and what follows for the whole."""
    step = next(iter(times.values()))["step"]
    lines = [
        "| part, ms | " + " | ".join(HEADS[engine] for engine in times) + " | share of ours |",
        "|---|" + (len(times) + 1) * "---|",
    ]
    parts = [
        "data", "teacher", "student forward", "student backward", *LOSSES, "all losses",
        "optimizer", "step", "step, images loaded", "step, teacher stored", "step, student alone",
    ]  # fmt: skip
    for part in parts:
        cells = [f"{1e3 * of[part]:,.2f}" if part in of else "" for of in times.values()]
        share = next(iter(times.values())).get(part, 0) / step
        lines.append(f"| {part} | {' | '.join(cells)} | {share:.1%} |")
    rates = [f"{batch / of['step']:,.1f}" for of in times.values()]
    lines.append(f"| images/s | {' | '.join(rates)} | |")
    over = [
        f"{of['step, teacher stored'] / of['step, student alone']:.3f}" for of in times.values()
    ]
    lines.append(f"| teacher stored / student alone | {' | '.join(over)} | |")
    return "\n".join(lines)


def _build(module: str, compiled: bool, sizes: Sizes) -> None:
    """Makes the parts of a process."""
    _parts.update(
        importlib.import_module(f"experiments.step_anatomy.{module}").parts(sizes, compiled)
    )


def _compile() -> list[str]:
    """Calls every part once; their names."""
    for call in _parts.values():
        call()
    return list(_parts)


def _turn(part: str) -> list[float]:
    """Times of one part, after a call that is not counted."""
    call = _parts[part]
    call()
    taken: list[float] = []
    while not taken or (sum(taken) < TURN and len(taken) < REPETITIONS):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return taken


def _efficiency(sizes: Sizes, seconds: float) -> str:
    """The rate of the step's operations, and the share of what the device can do."""
    import jax

    from darkrank_jax.training.accelerators import ACCELERATORS, name_of
    from experiments.step_anatomy import ours

    rate = ours.flops(sizes) / seconds
    kind = jax.devices()[0].device_kind
    name = name_of(kind)
    used = f", MFU {rate / ACCELERATORS[name].flops:.1%}" if name else ""
    return f"{kind}: {rate / 1e9:,.1f} GFLOP/s in the networks{used}"


if __name__ == "__main__":
    main()
