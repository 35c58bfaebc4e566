"""Where the time of a distillation step goes, beside the same step in PyTorch; README.md has it.

    pip install torch
    python -m experiments.step_anatomy.run [--batch 32] [--pixels 64] [--dtype float32]
        [--workers 0] [--rounds 3] [--only ours eager compiled] [--trace FOLDER]

ResNet-50 to ResNet-18, five losses. Ours and PyTorch's, eager and compiled, have a process each, on
all cores, and take turns, part by part, so that what else the machine does meets all of them. A
time is the median over all turns; what there is after a round is printed. On accelerators, where
a call returns before it is done, some calls follow each other before one is waited for, as in
training. `--trace` writes, at the end, what three steps of each do, for TensorBoard or Perfetto.
"""

import argparse
import importlib
import multiprocessing
import os
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from statistics import median

from experiments.step_anatomy.batch import LOSSES, Engine, Part, Sizes

ENGINES = {"ours": ("ours", True), "eager": ("others", False), "compiled": ("others", True)}
HEADS = {"ours": "ours", "eager": "PyTorch eager", "compiled": "PyTorch compiled"}
# Seconds of a turn and the most repetitions in it; one is measured at least.
TURN, REPETITIONS = 1.0, 20
# Calls before one is waited for, on accelerators.
QUEUED = 10

_engine: list[Engine] = []


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--trace")
    arguments = parser.parse_args()
    sizes = Sizes(arguments.batch, arguments.pixels, arguments.dtype, arguments.workers)
    # On a GPU the others need memory beside ours.
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.4")
    spawn = multiprocessing.get_context("spawn")
    workers = {
        engine: ProcessPoolExecutor(1, spawn, _build, (*ENGINES[engine], sizes))
        for engine in arguments.only
    }
    taken: dict[str, dict[str, list[float]]] = {}
    # One after the other, since compilers try on an accelerator what is fast there.
    for engine, worker in workers.items():
        start = time.perf_counter()
        taken[engine] = {part: [] for part in worker.submit(_compile).result()}
        print(f"{HEADS[engine]}: compiled in {time.perf_counter() - start:.0f} s", flush=True)
    print(f"{platform.processor() or platform.machine()}, batch {sizes.batch}, {sizes.pixels} px, "
          f"{sizes.dtype}", flush=True)  # fmt: skip
    for number in range(1, arguments.rounds + 1):
        for part in max(taken.values(), key=len):
            for engine, worker in workers.items():
                if part in taken[engine]:
                    taken[engine][part] += worker.submit(_turn, part).result()
        times = medians(taken)
        print(f"\nafter {number} of {arguments.rounds} rounds\n\n{table(times, sizes.batch)}\n")
        if "ours" in times:
            print(workers["ours"].submit(_efficiency, sizes, times["ours"]["step"]).result())
    for engine, worker in workers.items():
        if arguments.trace:
            worker.submit(_trace, os.path.join(arguments.trace, engine)).result()
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
    made = importlib.import_module(f"experiments.step_anatomy.{module}")
    _engine.append(made.engine(sizes, compiled))


def _compile() -> list[str]:
    """Calls every part once; their names."""
    (engine,) = _engine
    for call in engine.parts.values():
        engine.wait(call())
    return list(engine.parts)


def _turn(part: str) -> list[float]:
    """Seconds of one part, after calls that are not counted."""
    (engine,) = _engine
    call = engine.parts[part]
    # What the loader has made ahead of a step is to be used up before.
    ahead = 2 * engine.loaders if engine.queues else 0
    _seconds(call, 1 + ahead)
    calls = QUEUED if engine.queues else 1
    taken: list[float] = []
    while not taken or (calls * sum(taken) < TURN and len(taken) < REPETITIONS):
        taken.append(_seconds(call, calls))
    return taken


def _seconds(call: Part, calls: int) -> float:
    """Of a call, where some follow each other."""
    start = time.perf_counter()
    for _ in range(calls - 1):
        call()
    _engine[0].wait(call())
    return (time.perf_counter() - start) / calls


def _trace(folder: str) -> None:
    """Writes what three steps do."""
    (engine,) = _engine
    with engine.traced(folder):
        _seconds(engine.parts["step"], 3)


def _efficiency(sizes: Sizes, seconds: float) -> str:
    """The rate of the step's operations, and the share of what the device can do."""
    import jax

    from darkrank_jax.runs.accelerators import ACCELERATORS, name_of
    from experiments.step_anatomy import ours

    rate = ours.flops(sizes) / seconds
    kind = jax.devices()[0].device_kind
    name = name_of(kind)
    used = f", MFU {rate / ACCELERATORS[name].flops:.1%}" if name else ""
    return f"{kind}: {rate / 1e9:,.1f} GFLOP/s in the networks{used}"


if __name__ == "__main__":
    main()
