"""`--mode sweep`: a grid of overrides over seeds, and one table of what its runs found."""

import itertools
import os
import re
import signal
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from darkrank_jax.config.reader import read_run
from darkrank_jax.config.resolved import digest_of, resolve, teacher_fields
from darkrank_jax.distributed.signals import Interrupted
from darkrank_jax.errors import UserError
from darkrank_jax.files import write_text
from darkrank_jax.runs.splits import Splits
from darkrank_jax.runs.sweep.grid_arguments import read_grid, read_seeds
from darkrank_jax.runs.sweep.jobs import Job, default_workers, run_jobs
from darkrank_jax.runs.sweep.seed_table import METRICS, collect, table, write_rows

TEACHER = "teacher"
# Of a folder's name; file systems take 255, some fewer.
_LONGEST = 200


def sweep(
    config: str,
    fields: Mapping[str, Any],
    workdir: Path,
    *,
    grid: tuple = (),
    seeds: str = "0 1 2",
    workers: int = 0,
) -> None:
    """Trains every combination of a grid with every seed, and prints one table.

    Each run is a process of its own on cores of its own. Settings of a seed whose teachers have the
    same config learn from one, which is trained first, under WORKDIR/teacher. Stopped, the same
    call goes on; finished runs are not run again, and runs of another config are neither
    overwritten nor counted. Writes results.csv (a row a network) and results.md (mean and standard
    deviation over seeds).

    Args:
      config: name, path or module of a config.
      fields: dotted field -> value, in all runs.
      workdir: takes the runs and the tables.
      grid: a field and its values in each, as "learning_rate 1e-3 4e-3"; words as of a shell.
      seeds: of the runs and their teachers, whole numbers with spaces between.
      workers: runs at a time; 0: one a core, and one alone where JAX runs on an accelerator.

    Raises:
      UserError: a field, a value or the images are not as they must be, which is found before the
        first run; or a run failed.
    """
    if "seed" in fields:
        raise UserError("--config.seed: is of one run; give --seeds")
    jobs = grid_jobs(config, read_grid(grid), read_seeds(seeds), workdir, fields)
    # Whose images are not there ends before any run starts.
    Splits()[read_run(jobs[-1].resolved()).data]
    try:
        failed = run_jobs(jobs, workers or default_workers())
    except KeyboardInterrupt:
        raise Interrupted("Stopped; the same command goes on.", signal.SIGINT) from None
    rows = collect(job for job in jobs if job.name != TEACHER)
    write_rows(workdir / "results.csv", rows)
    shown = table(rows, METRICS)
    write_text(workdir / "results.md", f"{shown}\n")
    print(shown)
    if failed:
        raise UserError(
            f"{len(failed)} of {len(jobs)} runs failed, as said above; the same command tries again"
        )


def grid_jobs(
    config: str,
    grid: Mapping[str, Sequence[Any]],
    seeds: Iterable[int],
    workdir: Path,
    fields: Mapping[str, Any] = MappingProxyType({}),
) -> list[Job]:
    """Every combination of the grid's values, with every seed.

    The teachers that the settings train are jobs as well, each once a seed, in the folder
    `teacher/DIGEST/seedN`; the students take them from there.

    Args:
      config: name, path or module of a config.
      grid: dotted field -> values; empty: the config as it is.
      seeds: of the runs, and of their teachers.
      workdir: takes a folder `SETTING/seedN` for each run.
      fields: dotted field -> value, in all runs.

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
            setting = dict(zip(grid, values, strict=True))
            name = ",".join(f"{field}={value}" for field, value in setting.items()) or "config"
            overrides = {**fields, **setting}
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


def _teacher_job(config: str, overrides: Mapping[str, Any], seed: int, workdir: Path) -> Job | None:
    """The run of a setting's teacher alone, where that is trained and not there already."""
    student = resolve(config, overrides)
    teacher = read_run(student).teacher
    if teacher is None or teacher.checkpoint or not teacher.is_trained:
        return None
    whole = {name: value for name, value in student["teacher"].items() if name != "seed"}
    place = workdir / TEACHER / digest_of(whole) / f"seed{seed}"
    return Job(TEACHER, config, teacher_fields(config, student), seed, place)
