"""Runs a grid of config overrides over seeds, one process a run, and makes one table of them.

    python -m experiments.sweep --config configs/NAME.py --workdir runs/sweep --seeds 0 1 2 \\
        --grid losses.darkrank_soft.weight 0.1 0.5 --grid learning_rate 1e-3 4e-3 [--workers N]

Every combination of the grid's values is trained with every seed by `darkrank_jax.main`, each
worker on cores of its own. Settings of a seed whose teachers have the same config learn from one,
of that seed, which is trained first, under WORKDIR/teacher. Stopped, the same command goes on;
finished runs are not run again, and runs of another config are neither overwritten nor counted.
Writes results.csv (a row a network) and results.md (mean and standard deviation over seeds) to the
workdir. An experiment with settings of its own makes `Job`s and calls `run_jobs`, `collect` and
`table`.
"""

import argparse
import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from darkrank_jax.config.description import describe
from darkrank_jax.config.reader import read_run
from darkrank_jax.errors import UserError
from darkrank_jax.files import read_json, write_text
from darkrank_jax.runs.results import read_results
from darkrank_jax.workdir.metrics_log import read_log
from darkrank_jax.workdir.run_file import is_workdir, read_facts
from experiments.resolved import (
    ROOT,
    check_data,
    digest,
    flags_of,
    refusing,
    resolve,
    teacher_fields,
)
from experiments.tables import Row, table, write_rows

METRICS = ("recall_at_1", "map_at_r", "nmi")
# What runs a job, in this interpreter; flags follow.
COMMAND = ("-m", "darkrank_jax.main")
TEACHER = "teacher"
# Tells what JAX runs on; in a process of its own, since it takes a GPU's memory while it lives.
_ASK_JAX = ("-P", "-c", "import jax; print(jax.default_backend())")
_VALIDATION = "validation/"
# Of a folder's name; file systems take 255, some fewer.
_LONGEST = 200


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
        workdir = f"--workdir={self.workdir.absolute()}"
        return [*COMMAND, f"--config={self.config}", *flags_of(self._changes()), workdir]

    def resolved(self) -> dict[str, Any]:
        """The whole config of its run, as its file is now."""
        return resolve(self.config, self._changes())

    def record(self) -> dict[str, Any]:
        """What its command.json holds once it is done."""
        return {"arguments": self.arguments(), "config": digest(self.resolved())}

    def is_done(self) -> bool:
        """Whether its run has ended well, by the same command with the same config."""
        record = self.workdir / "command.json"
        finished = (self.workdir / "results.json").exists() and record.exists()
        if not finished:
            return False
        # A damaged record is none; the run is looked at again, and writes it.
        with contextlib.suppress(UserError):
            return read_json(record, "") == self.record()
        return False

    def _changes(self) -> dict[str, Any]:
        return {**self.overrides, "seed": self.seed}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--grid", nargs="+", action="append", default=[], metavar="FIELD VALUE")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add_workers(parser)
    parser.add_argument("--workdir", type=Path, required=True)
    arguments = parser.parse_args()
    grid = {field: values for field, *values in arguments.grid}
    for field, values in grid.items():
        if not values:
            parser.error(f"--grid {field}: has no values; give --grid FIELD VALUE ...")
    with refusing():
        jobs = grid_jobs(arguments.config, grid, arguments.seeds, arguments.workdir)
        check_data(jobs[-1].resolved())
        failed = run_jobs(jobs, arguments.workers or default_workers())
        rows = collect(job for job in jobs if job.name != TEACHER)
        write_rows(arguments.workdir / "results.csv", rows)
        shown = table(rows, METRICS)
        write_text(arguments.workdir / "results.md", f"{shown}\n")
    print(shown)
    if failed:
        sys.exit(f"error: {len(failed)} of {len(jobs)} runs failed; the same command tries again")


def add_workers(parser: argparse.ArgumentParser) -> None:
    """The flag for the number of runs at a time; 0 stands for `default_workers`."""
    told = "runs at a time; 0: one a core, and one alone where JAX runs on an accelerator"
    parser.add_argument("--workers", type=int, default=0, help=told)


def default_workers() -> int:
    """As many runs as there are cores; one where JAX has an accelerator, which a run fills."""
    asked = subprocess.run([sys.executable, *_ASK_JAX], capture_output=True, text=True, cwd=ROOT)
    if asked.returncode:
        sys.exit(f"error: JAX does not start: {''.join(asked.stderr.splitlines()[-1:])}")
    return len(cores()) if asked.stdout.split()[-1:] == ["cpu"] else 1


def cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def grid_jobs(
    config: str, grid: Mapping[str, Sequence[Any]], seeds: Iterable[int], workdir: Path
) -> list[Job]:
    """Every combination of the grid's values, with every seed.

    The teachers that the settings train are jobs as well, each once a seed, in the folder
    `teacher/DIGEST/seedN`; the students take them from there.

    Args:
      config: path of a config file.
      grid: dotted field -> values; empty: the config as it is.
      seeds: of the runs, and of their teachers.
      workdir: takes a folder `SETTING/seedN` for each run.

    Returns:
      Jobs, the teachers first, those of a seed side by side.

    Raises:
      UserError: the config cannot be read, or has not the fields of the grid; or the name of a
        setting is too long for a folder, or another's as well.

    Example:
      >>> grid = {"steps": [2, 4], "model.width": [3]}
      >>> jobs = grid_jobs("tests/tiny_config.py", grid, [7], Path("w"))
      >>> [job.name for job in jobs]
      ['teacher', 'steps=2,model.width=3', 'steps=4,model.width=3']
      >>> str(jobs[1].workdir), jobs[1].after == jobs[2].after == jobs[0].workdir
      ('w/steps=2,model.width=3/seed7', True)
    """
    teachers: dict[Path, Job] = {}
    students = []
    for seed in seeds:
        for values in itertools.product(*grid.values()):
            overrides = dict(zip(grid, values, strict=True))
            name = ",".join(f"{field}={value}" for field, value in overrides.items()) or "config"
            place = workdir / re.sub(r"[/\\]", "_", name) / f"seed{seed}"
            _check_place(place, [job.workdir for job in students])
            teacher = _teacher_job(config, overrides, seed, workdir)
            if teacher is not None:
                teachers[teacher.workdir] = teacher
                overrides["teacher.seed"] = seed
                overrides["teacher.checkpoint"] = str(teacher.workdir.absolute())
            after = teacher.workdir if teacher else None
            students.append(Job(name, config, overrides, seed, place, after))
    return [*teachers.values(), *students]


def _check_place(place: Path, others: Sequence[Path]) -> None:
    """Refuses a run whose folder cannot be, or is that of another run."""
    name = place.parent.name
    if len(os.fsencode(name)) > _LONGEST:
        raise UserError(
            f"--grid: the name of a setting must have at most {_LONGEST} bytes, since a folder has "
            f"it (got {len(os.fsencode(name))}: {name[:50]}...); set long values in a config file"
        )
    if place in others:
        raise UserError(
            f"--grid: two runs would have the folder {name}/{place.name}; give each value and seed "
            "once, and values that differ in more than / and \\"
        )


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
        networks = read_results(job.workdir / "results.json")["networks"]
        for network, found in networks.items():
            row = {"name": job.name, "seed": job.seed, "network": network}
            row |= {metric: found["metrics"][metric] for metric in metrics}
            rows.append(row | _validation(job, network, found, metrics))
    return rows


def _teacher_job(config: str, overrides: Mapping[str, Any], seed: int, workdir: Path) -> Job | None:
    """The run of a setting's teacher alone, where that is trained and not there already."""
    student = resolve(config, overrides)
    teacher = read_run(student).teacher
    if teacher is None or teacher.checkpoint or not teacher.is_trained:
        return None
    whole = {name: value for name, value in student["teacher"].items() if name != "seed"}
    place = workdir / TEACHER / digest(whole) / f"seed{seed}"
    return Job(TEACHER, config, teacher_fields(config, student), seed, place)


def _pin(shares: "SimpleQueue[list[int]]") -> None:
    """Gives a worker's thread, and so the processes that it starts, cores of their own."""
    share = shares.get()
    # Workers beyond the number of cores have none left, and keep all.
    if share and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, share)


def _run(job: Job, running: set[subprocess.Popen]) -> bool:
    """Runs one job to its end, unless it is there already; says whether it succeeded."""
    name = f"{job.name}, seed {job.seed}"
    try:
        if job.is_done():
            print(f"{name}: is done", flush=True)
            return True
        record = job.record()
        _refuse_other_teacher(job)
    except UserError as error:
        print(f"{name}: failed, {error}", flush=True)
        return False
    job.workdir.mkdir(parents=True, exist_ok=True)
    log = job.workdir / "log.txt"
    print(f"{name}: starts", flush=True)
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, *job.arguments()], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
        running.add(process)
        code = process.wait()
        running.discard(process)
    if code == 0:
        # Last, since it is what says that this config was run.
        write_text(job.workdir / "command.json", json.dumps(record))
        print(f"{name}: finished", flush=True)
        return True
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    print(f"{name}: failed, {''.join(said)} ({log})", flush=True)
    return False


def _refuse_other_teacher(job: Job) -> None:
    """Refuses a workdir whose run learned from a teacher of another config.

    All else that differs is refused by the main command, which knows a teacher that lies elsewhere
    by its files alone, and takes a run that an earlier version finished as it is.
    """
    if not is_workdir(job.workdir):
        return
    told = json.loads(json.dumps(describe(read_run(job.resolved()))))
    found, wanted = (
        dict(_leaves("teacher", run["teacher"])) for run in (read_facts(job.workdir)["run"], told)
    )
    for field in sorted((found.keys() | wanted.keys()) - {"teacher.checkpoint"}):
        if found.get(field) != wanted.get(field):
            raise UserError(
                f"{job.workdir}: holds a run whose {field} is {found.get(field)}, not "
                f"{wanted.get(field)}; delete it to start again, or give another --workdir"
            )


def _leaves(field: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The values within a part of a config, by dotted field."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(f"{field}.{name}", inner)
    else:
        yield field, value


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
