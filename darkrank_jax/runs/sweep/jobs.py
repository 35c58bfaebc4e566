"""Runs of a sweep, in processes of their own, each once, some at a time."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from darkrank_jax.config.description import describe
from darkrank_jax.config.reader import read_run
from darkrank_jax.config.resolved import digest_of, flags_of, resolve
from darkrank_jax.errors import UserError
from darkrank_jax.files import read_json, write_text
from darkrank_jax.runs.splits import Splits, in_steps
from darkrank_jax.workdir.run_file import is_workdir, read_facts

# What runs a job, in this interpreter; flags follow.
COMMAND = ("-m", "darkrank_jax.main")
# Tells what JAX runs on; in a process of its own, since it takes a GPU's memory while it lives.
ASK_JAX = ("-P", "-c", "import jax; print(jax.default_backend())")


class Job(NamedTuple):
    """One run of a sweep.

    Attributes:
      name: of its setting; jobs of one name differ in their seed.
      config: name, path or module of a config.
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
        return {"arguments": self.arguments(), "config": digest_of(self.resolved())}

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


def default_workers() -> int:
    """As many runs as there are cores; one where JAX has an accelerator, which a run fills."""
    asked = subprocess.run([sys.executable, *ASK_JAX], capture_output=True, text=True)
    if asked.returncode:
        said = "".join(asked.stderr.splitlines()[-1:])
        raise UserError(f"JAX does not start: {said}; install it as its error says")
    return len(cores()) if asked.stdout.split()[-1:] == ["cpu"] else 1


def cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


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
            [sys.executable, *job.arguments()], stdout=output, stderr=subprocess.STDOUT
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
    told = json.loads(json.dumps(describe(in_steps(read_run(job.resolved()), Splits()))))
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
