"""Does a long run keep its memory, threads and file handles? README.md has the figures.

    python -m experiments.soak.run [--minutes 30] [--every 15000] [--workdir runs/soak]
        [--output experiments/soak]

Trains a tiny student in a process of its own, with a validation and a checkpoint every few
steps, and looks at that process every two seconds; then stops it by SIGTERM, which must save.
Writes samples.csv and prints, for each fifth of the time, medians of what was seen. Linux.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from darkrank_jax.files import write_csv
from darkrank_jax.workdir.metrics_log import read_log
from experiments.refusing import refusing

HERE = Path(__file__).parent
# Seconds between two looks, and the parts of the time that are compared; the first is the warm-up.
PAUSE, PARTS = 2.0, 5
# Largest growth of the memory from the second part to the last.
GROWTH = 0.02
ARGUMENTS = (
    "--config=tests/tiny_config.py",
    "--config.steps=1000000000",
    "--config.log_every=5",
    "--config.baseline={}",
)


class Sample(NamedTuple):
    """What a process holds at a moment."""

    seconds: float
    mebibytes: float
    threads: int
    files: int


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=int, default=15_000, help="steps between two checkpoints")
    parser.add_argument("--workdir", type=Path, default=Path("runs/soak"))
    parser.add_argument("--output", type=Path, default=HERE)
    arguments = parser.parse_args()
    workdir: Path = arguments.workdir.absolute()
    shutil.rmtree(workdir, ignore_errors=True)
    workdir.mkdir(parents=True)
    with (workdir / "log.txt").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "darkrank_jax.main", *ARGUMENTS),
                f"--config.eval_every={arguments.every}",
                f"--workdir={workdir}",
            ],
            stdout=log,
            stderr=log,
            cwd=HERE.parent.parent,
        )
        try:
            samples = list(watch(process, 60 * arguments.minutes))
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait()
    rounded = ([round(value, 1) for value in sample] for sample in samples)
    with refusing():
        write_csv(arguments.output / "samples.csv", Sample._fields, rounded)
    rows = read_log(workdir)
    steps = max(int(row["step"]) for row in rows)
    validations = sum("validation/recall_at_1" in row for row in rows)
    print(f"{steps:,} steps, {validations:,} validations and checkpoints; exit code {code}\n")
    print(table(samples))
    sys.exit(not is_flat(samples) or code != 128 + signal.SIGTERM)


def watch(process: subprocess.Popen, seconds: float) -> Iterator[Sample]:
    """Looks at a process for some seconds, or until it has ended; halted time does not count."""
    place = Path("/proc") / str(process.pid)
    for look in range(1, round(seconds / PAUSE) + 1):
        time.sleep(PAUSE)
        if process.poll() is not None:
            return
        fields = dict(
            line.split(":", 1)
            for line in (place / "status").read_text(encoding="utf-8").splitlines()
        )
        kibibytes, threads = int(fields["VmRSS"].split()[0]), int(fields["Threads"])
        files = len(os.listdir(place / "fd"))
        yield Sample(look * PAUSE, kibibytes / 1024, threads, files)


def parts(samples: list[Sample]) -> list[list[Sample]]:
    """The samples of each part of the time."""
    size = len(samples) // PARTS
    return [samples[size * part : size * (part + 1)] for part in range(PARTS)]


def is_flat(samples: list[Sample]) -> bool:
    """Whether memory grew by no more than it may, and threads and files not at all."""
    _, first, *_, last = parts(samples)
    memory = [median(sample.mebibytes for sample in part) for part in (first, last)]
    counts = [[median(column) for column in list(zip(*part, strict=True))[2:]]
              for part in (first, last)]  # fmt: skip
    return memory[1] <= (1 + GROWTH) * memory[0] and counts[1] <= counts[0]


def table(samples: list[Sample]) -> str:
    """Median and range of each part of the time."""
    lines = ["| minutes | memory, MiB | threads | file handles |", "|---|---|---|---|"]
    for part in parts(samples):
        seconds, *columns = zip(*part, strict=True)
        cells = [f"{median(x):,.0f} ({min(x):,.0f} to {max(x):,.0f})" for x in columns]
        lines.append(f"| {seconds[0] / 60:.1f} to {seconds[-1] / 60:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
