"""How fast every network is beside PyTorch's; README.md has the table.

    pip install torch torchvision timm
    pip install --no-deps torchreid pretrainedmodels
    python -m experiments.model_speed.run [--only NAME ...] [--rounds 5] [--batch 32] [--pixels 96]
        [--dtype float32] [--output FILE]

Forward pass in evaluation, and training step: forward, backward and SGD with momentum, of the
squared distance to given embeddings. Ours and PyTorch's, eager (channels last) and compiled, have a
process each, new for each network, on all cores, and take turns, so that what else the machine does
meets all of them; what compiles is not counted. A network's rows are added to FILE when it is done;
those that are there under the same settings are not measured again. Prints the table of the file.
"""

import argparse
import ctypes
import importlib
import itertools
import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

from darkrank_jax.cli.large_pages import TUNABLES
from darkrank_jax.models import MODELS
from experiments.model_speed.case import Case, Engine
from experiments.model_speed.results import Row, read, table, write
from experiments.refusing import refusing

ENGINES = {"ours": ("ours", True), "eager": ("others", False), "compiled": ("others", True)}
TITLES = {"forward": "Forward pass:", "step": "Training step:"}
PASSES = tuple(TITLES)
# Seconds of a turn and the most repetitions in it; one is measured at least.
TURN, REPETITIONS = 1.0, 20
# Calls before one is waited for, where calls return before they are done.
QUEUED = 10

_engine: list[Engine] = []
_resident: list[int] = []


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=sorted(MODELS), default=sorted(MODELS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--pixels", type=int, default=96)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results.csv")
    arguments = parser.parse_args()
    # On a GPU the others need memory beside ours.
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.4")
    # What `darkrank` runs with: large pages, on CPUs.
    os.environ.setdefault(*TUNABLES)
    settings = {"batch": arguments.batch, "pixels": arguments.pixels, "dtype": arguments.dtype}
    with refusing():
        for network in arguments.only:
            rows = read(arguments.output)
            if any(row.items() >= ({"network": network} | settings).items() for row in rows):
                print(f"{network}: is in {arguments.output}", flush=True)
                continue
            start = time.perf_counter()
            found = measure(Case(network, **settings), arguments.rounds)
            write(arguments.output, rows + found)
            print(f"{network}: {time.perf_counter() - start:.0f} s", flush=True)
        rows = [row for row in read(arguments.output) if row.items() >= settings.items()]
    print(platform.processor() or platform.machine())
    for pass_ in PASSES:
        print(f"\n{TITLES[pass_]}\n\n{table(rows, pass_)}")


def measure(case: Case, rounds: int) -> list[Row]:
    """A row for each pass in each engine."""
    spawn = multiprocessing.get_context("spawn")
    workers = {name: ProcessPoolExecutor(1, spawn) for name in ENGINES}
    try:
        # One after the other, since compilers try on an accelerator what is fast there.
        parameters = {
            name: worker.submit(_build, *ENGINES[name], case).result()
            for name, worker in workers.items()
        }
        there = {name: worker for name, worker in workers.items() if parameters[name]}
        taken = {(name, pass_): [] for name in there for pass_ in PASSES}
        peaks = {}
        for _ in range(rounds):
            for pass_ in PASSES:
                for name, worker in there.items():
                    seconds, peaks[name, pass_] = worker.submit(_turn, pass_).result()
                    taken[name, pass_].append(seconds)
    finally:
        for worker in workers.values():
            worker.shutdown()
    rows = []
    for (name, pass_), turns in taken.items():
        ours = taken["ours", pass_]
        ratios = [median(other) / median(own) for other, own in zip(turns, ours, strict=True)]
        seconds = list(itertools.chain(*turns))
        row = {**case._asdict(), "pass": pass_, "engine": name, "rounds": rounds}
        row |= {"parameters": parameters[name], "times_ours": round(median(ratios), 3)}
        row |= {"min_ms": 1e3 * min(seconds), "median_ms": 1e3 * median(seconds)}
        rows.append(row | {"peak_mb": peaks[name, pass_] / 1e6})
    return rows


def _build(module: str, compiled: bool, case: Case) -> int:
    """Makes a process's engine and runs its passes once; its parameters, 0 if it has no peer."""
    library = importlib.import_module(f"experiments.model_speed.{module}")
    _resident.append(_memory("VmRSS"))
    engine = library.engine(case, compiled)
    if engine is None:
        return 0
    _engine.append(engine)
    for call in engine.passes.values():
        engine.wait(call())
    return engine.parameters


def _turn(pass_: str) -> tuple[list[float], int]:
    """Seconds of a pass, after calls that are not counted, and bytes in use at most."""
    (engine,) = _engine
    call = engine.passes[pass_]
    if not engine.peak:
        # What compiled is given back, and the peak counted from here.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    _seconds(call, 1)
    calls = QUEUED if engine.peak else 1
    taken: list[float] = []
    while not taken or (calls * sum(taken) < TURN and len(taken) < REPETITIONS):
        taken.append(_seconds(call, calls))
    return taken, engine.peak() if engine.peak else _memory("VmHWM") - _resident[0]


def _seconds(call: Callable[[], object], calls: int) -> float:
    """Of a call, where some follow each other."""
    start = time.perf_counter()
    for _ in range(calls - 1):
        call()
    _engine[0].wait(call())
    return (time.perf_counter() - start) / calls


def _memory(field: str) -> int:
    """Bytes of a field of this process's status, as Linux counts them."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main()
