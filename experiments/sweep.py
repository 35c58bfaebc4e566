"""Runs a grid of config overrides over seeds, one process a run, and makes one table of them.

    python -m experiments.sweep --config configs/NAME.py --workdir runs/sweep --seeds 0 1 2 \\
        --grid losses.darkrank_soft.weight 0.1 0.5 --grid learning_rate 1e-3 4e-3 [--workers N]

Every combination of the grid's values is trained with every seed by `darkrank_jax.main`, each
worker on cores of its own. All settings of a seed learn from one teacher, of that seed, unless the
grid changes the teacher. Stopped, the same command goes on; finished runs are not run again.
Writes results.csv (a row a network) and results.md (mean and standard deviation over seeds) to the
workdir. An experiment with settings of its own makes `Job`s and calls `run_jobs`, `collect` and
`table`.
"""

import argparse
import csv
import itertools
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from darkrank_jax.training.metrics_log import read_log

METRICS = ("recall_at_1", "map_at_r", "nmi")
# What runs a job, in this interpreter; flags follow.
COMMAND = ("-m", "darkrank_jax.main")
_ROOT = Path(__file__).parent.parent
_VALIDATION = "validation/"

Row = dict[str, Any]


class Job(NamedTuple):
    """One run of a sweep.

    Attributes:
      name: of its setting; jobs of one name differ in their seed.
      config: path of a config file, from the repository's root.
      overrides: dotted field -> value; a mapping replaces the whole field.
      seed: becomes the field `seed`.
      workdir: of the run.
      after: workdir of another job of the sweep, which is finished first; name that job earlier.
    """

    name: str
    config: str
    overrides: Mapping[str, Any]
    seed: int
    workdir: Path
    after: Path | None = None

    def arguments(self) -> list[str]:
        """The command line of its run, without the interpreter."""
        fields = {**self.overrides, "seed": self.seed}
        flags = [f"--config.{field}={value}" for field, value in fields.items()]
        workdir = f"--workdir={self.workdir.absolute()}"
        return [*COMMAND, f"--config={self.config}", *flags, workdir]

    def is_done(self) -> bool:
        """Whether its run has ended, by the same command."""
        record = self.workdir / "command.json"
        finished = (self.workdir / "results.json").exists() and record.exists()
        return finished and json.loads(record.read_text()) == self.arguments()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--grid", nargs="+", action="append", default=[], metavar="FIELD VALUE")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=len(cores()))
    parser.add_argument("--workdir", type=Path, required=True)
    arguments = parser.parse_args()
    grid = {field: values for field, *values in arguments.grid}
    for field, values in grid.items():
        if not values:
            parser.error(f"--grid {field}: has no values; give --grid FIELD VALUE ...")
    jobs = grid_jobs(arguments.config, grid, arguments.seeds, arguments.workdir)
    failed = run_jobs(jobs, arguments.workers)
    rows = collect(jobs)
    write_rows(arguments.workdir / "results.csv", rows)
    (arguments.workdir / "results.md").write_text(table(rows) + "\n")
    print(table(rows))
    if failed:
        sys.exit(f"error: {len(failed)} of {len(jobs)} runs failed; the same command tries again")


def cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def grid_jobs(
    config: str, grid: Mapping[str, Sequence[Any]], seeds: Iterable[int], workdir: Path
) -> list[Job]:
    """Every combination of the grid's values, with every seed.

    Where the config trains a teacher and the grid leaves it alone, the first setting of a seed
    trains it with that seed, and the others wait and take it from there.

    Args:
      config: path of a config file.
      grid: dotted field -> values; empty: the config as it is.
      seeds: of the runs.
      workdir: takes a folder `SETTING/seedN` for each run.

    Returns:
      Jobs, those of a seed side by side.

    Example:
      >>> grid = {"steps": [2, 4], "model.width": [3]}
      >>> [str(job.workdir) for job in grid_jobs("tests/tiny_config.py", grid, [7], Path("w"))]
      ['w/steps=2,model.width=3/seed7', 'w/steps=4,model.width=3/seed7']
    """
    teacher = runpy.run_path(str(_ROOT / config))["get_config"]().teacher
    trained = bool(teacher) and not (teacher.checkpoint or teacher.embeddings or teacher.ensemble)
    shared = trained and not any(field.startswith("teacher") for field in grid)
    jobs = []
    for seed in seeds:
        first = None
        for values in itertools.product(*grid.values()):
            overrides = dict(zip(grid, values, strict=True))
            name = ",".join(f"{field}={value}" for field, value in overrides.items()) or "config"
            if trained:
                overrides["teacher.seed"] = seed
            if shared and first:
                overrides["teacher.checkpoint"] = str((first / "teacher").absolute())
            place = workdir / name.replace("/", "_") / f"seed{seed}"
            jobs.append(Job(name, config, overrides, seed, place, first if shared else None))
            first = first or place
    return jobs


def run_jobs(jobs: Sequence[Job], workers: int) -> list[Job]:
    """Runs what is not finished yet, some at a time, and says what becomes of each.

    Each worker keeps to cores of its own where the system allows it. Ctrl-C and SIGTERM reach the
    runs, which save and end; what they print goes to `log.txt` in their workdirs.

    Args:
      jobs: in the order of their start.
      workers: runs at a time.

    Returns:
      The jobs that failed, or that wait for one that did.
    """
    shares: SimpleQueue[list[int]] = SimpleQueue()
    for share in np.array_split(cores(), workers):
        shares.put(share.tolist())
    running: set[subprocess.Popen] = set()
    stopping = threading.Event()
    done: dict[Path, Future[bool]] = {}

    def work(job: Job) -> bool:
        if job.after is not None and not done[job.after].result():
            return False
        return not stopping.is_set() and _run(job, running)

    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ThreadPoolExecutor(workers, initializer=_pin, initargs=(shares,)) as pool:
            try:
                for job in jobs:
                    done[job.workdir] = pool.submit(work, job)
                return [job for job in jobs if not done[job.workdir].result()]
            except KeyboardInterrupt:
                stopping.set()
                for process in list(running):
                    process.send_signal(signal.SIGTERM)
                raise
    finally:
        signal.signal(signal.SIGTERM, previous)


def collect(jobs: Iterable[Job], metrics: Sequence[str] = METRICS) -> list[Row]:
    """What finished runs found: a row for each network of each run.

    Args:
      jobs: those that are not finished are left out.
      metrics: of results.json, on the test split.

    Returns:
      Rows of "name", "seed", "network", the metrics, and each of them that was measured in
      validation, at the checkpoint that is evaluated, as "validation/METRIC". A teacher that
      several runs share is in each of them.
    """
    rows = []
    for job in jobs:
        if not job.is_done():
            continue
        networks = json.loads((job.workdir / "results.json").read_text())["networks"]
        for network, found in networks.items():
            row = {"name": job.name, "seed": job.seed, "network": network}
            row |= {metric: found["metrics"][metric] for metric in metrics}
            rows.append(row | _validation(job, network, found, metrics))
    return rows


def table(rows: Sequence[Row], metrics: Sequence[str] = METRICS) -> str:
    """Mean and standard deviation over seeds, in Markdown, in the order of the rows.

    Args:
      rows: of `collect`; a teacher's that several settings share are counted once.
      metrics: the columns.

    Returns:
      Lines of a table; one seed alone has no deviation.
    """
    groups: dict[tuple[str, str], dict[int, Row]] = {}
    for row in rows:
        groups.setdefault((row["name"], row["network"]), {})[row["seed"]] = row
    lines = [
        "| setting | network | seeds | " + " | ".join(metrics) + " |",
        "|---|---|" + (1 + len(metrics)) * "---|",
    ]
    shown = set()
    for (name, network), by_seed in groups.items():
        columns = [spread([row[metric] for row in by_seed.values()]) for metric in metrics]
        line = f"| {network} | {len(by_seed)} | {' | '.join(columns)} |"
        if network != "teacher" or line not in shown:
            lines.append(f"| {name} {line}")
        shown.add(line)
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Mean and sample standard deviation.

    Example:
      >>> spread([0.25, 0.5])
      '0.375 ± 0.177'
    """
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Writes rows of `collect` as CSV."""
    fields = dict.fromkeys(field for row in rows for field in row)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(fields), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _pin(shares: "SimpleQueue[list[int]]") -> None:
    """Gives a worker's thread, and so the processes that it starts, cores of their own."""
    share = shares.get()
    # Workers beyond the number of cores have none left, and keep all.
    if share and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, share)


def _run(job: Job, running: set[subprocess.Popen]) -> bool:
    """Runs one job to its end, unless it is there already; says whether it succeeded."""
    name = f"{job.name}, seed {job.seed}"
    if job.is_done():
        print(f"{name}: is done", flush=True)
        return True
    job.workdir.mkdir(parents=True, exist_ok=True)
    record, log = job.workdir / "command.json", job.workdir / "log.txt"
    record.write_text(json.dumps(job.arguments()))
    print(f"{name}: starts", flush=True)
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *job.arguments()], cwd=_ROOT, stdout=output, stderr=subprocess.STDOUT
        )
        running.add(process)
        code = process.wait()
        running.discard(process)
    said = log.read_text().strip().splitlines()[-1:]
    print(f"{name}: finished" if code == 0 else f"{name}: failed, {''.join(said)} ({log})")
    return code == 0


def _validation(job: Job, network: str, found: Mapping[str, Any], metrics: Sequence[str]) -> Row:
    """The scores in validation of a network that this run trained."""
    teacher = job.overrides.get("teacher.checkpoint") or job.workdir / "teacher"
    places = {"teacher": Path(teacher), "baseline": job.workdir / "baseline"}
    scores: Row = {}
    for row in read_log(places.get(network, job.workdir)):
        if row["step"] == found.get("best_step"):
            scores |= row
    wanted = [_VALIDATION + metric for metric in metrics]
    return {metric: scores[metric] for metric in wanted if metric in scores}


if __name__ == "__main__":
    main()
