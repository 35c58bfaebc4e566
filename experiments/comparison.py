"""Compares ways to train a student, tuned equally; each experiment brings its methods.

Trains a teacher for each seed, tries every setting of every method with a seed of its own, chooses
by MAP@R on validation classes, and trains the chosen settings with the other seeds; only the test
scores of those are looked at. Goes on where it was stopped.
"""

import argparse
import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from darkrank_jax.config.reader import read_run
from darkrank_jax.config.resolved import resolve, teacher_fields
from darkrank_jax.config.run import needs_teacher
from darkrank_jax.errors import UserError
from darkrank_jax.files import write_csv
from darkrank_jax.runs.splits import Splits
from darkrank_jax.runs.sweep.jobs import Job, default_workers, run_jobs
from darkrank_jax.runs.sweep.seed_table import collect, spread
from darkrank_jax.workdir.metrics_log import read_log
from experiments.refusing import refusing

TUNING_SEED, SEEDS = 3, (0, 1, 2)
# Of a student with `--long`.
VALIDATIONS = 12
HERE = Path(__file__).parent
CHOSEN_BY = "map_at_r"
TEACHER, ALONE = "teacher", "student alone"
# What a table calls the metrics of results.json.
HEADS = {"recall_at_1": "Recall@1", "map_at_r": "MAP@R", "nmi": "NMI"}
# What a setting's short name tells beside the weights.
TOLD = ("temperature", "alpha", "beta", "sigma")
Losses = dict[str, dict[str, Any]]
Methods = Mapping[str, Sequence[Losses]]


class Case(NamedTuple):
    """A network: its method, the number of the setting, and the seed."""

    method: str
    setting: int
    seed: int


Scores = dict[Case, dict[str, float]]


class Setup(NamedTuple):
    """What an experiment compares.

    Attributes:
      config: path of the config file of student and teacher, from the repository's root.
      methods: name -> settings, as many each; one is `ALONE`, the student without a teacher.
      metrics: of results.json, the columns.
      fields: of all students, dotted field -> value, where the config file has others.
      alone: of the student without a teacher besides.
      teacher: seed of the one teacher of all seeds; None: each seed has its own.
      teacher_steps: of teachers; 0: as configured.
      beside_alone: settings of the other methods are what they add to the losses with which the
        student alone validates best.
      eval_every: steps between validations of students whose steps are given; the checkpoint that
        validates best is tested. 0: the last one is.
    """

    config: str
    methods: Methods
    metrics: Sequence[str]
    fields: Mapping[str, Any] = MappingProxyType({})
    alone: Mapping[str, Any] = MappingProxyType({})
    teacher: int | None = None
    teacher_steps: int = 0
    beside_alone: bool = False
    eval_every: int = 0


class Found(NamedTuple):
    """What a comparison found.

    Attributes:
      methods: with all losses of each setting.
      tuning: scores in validation.
      chosen: method -> the number of its best setting in validation.
      results: scores in the test.
    """

    methods: Methods
    tuning: Scores
    chosen: dict[str, int]
    results: Scores


def run_experiment(
    config: str,
    methods: Methods,
    metrics: Sequence[str],
    workdir: Path,
    description: str,
    long: int,
) -> None:
    """The command of an experiment: trains, writes tuning.csv and results.csv, prints the table.

    Args:
      config: path of the config file of student and teacher, from the repository's root.
      methods: name -> settings, as many each; one is `ALONE`, the student without a teacher.
      metrics: of results.json, the columns.
      workdir: takes the runs, unless the command names another.
      description: of the command.
      long: steps of a student with `--long`, which writes long.csv, and curves.csv with its
        validations.
    """
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    add_workers(parser)
    parser.add_argument("--workdir", type=Path, default=workdir)
    parser.add_argument("--steps", type=int, default=0, help="of all networks; 0: as configured")
    parser.add_argument("--tables", type=Path, default=HERE / Path(config).stem)
    parser.add_argument(
        "--long",
        action="store_true",
        help=f"students of {long:,} steps, with the settings of tuning.csv",
    )
    parser.add_argument("--methods", nargs="+", choices=methods, default=list(methods))
    arguments = parser.parse_args()
    chosen_methods = {name: methods[name] for name in methods if name in arguments.methods}
    setup = Setup(config, chosen_methods, metrics, teacher_steps=arguments.steps)
    names = ("tuning", "results", "long", "curves")
    places = {name: arguments.tables / f"{name}.csv" for name in names}
    with refusing():
        workers = arguments.workers or default_workers()
        if arguments.long:
            tuning = read_tuning(places["tuning"], setup)
            setup = setup._replace(eval_every=long // VALIDATIONS)
            found = train_chosen(setup, tuning, arguments.workdir, workers, long)
            write_curves(places["curves"], found, setup, arguments.workdir, long)
        else:
            found = compare(setup, arguments.workdir, workers, arguments.steps, arguments.steps)
            write_rows(places["tuning"], found.tuning, found.methods)
        results = places["long" if arguments.long else "results"]
        write_rows(results, found.results, found.methods)
    print(table(found))


def add_workers(parser: argparse.ArgumentParser) -> None:
    """The flag for the number of runs at a time; 0 stands for `default_workers`."""
    told = "runs at a time; 0: one a core, and one alone where JAX runs on an accelerator"
    parser.add_argument("--workers", type=int, default=0, help=told)


def compare(
    setup: Setup, workdir: Path, workers: int, steps: int = 0, tuning_steps: int = 0
) -> Found:
    """Chooses a setting of each method in validation, and tests the chosen with other seeds.

    Args:
      setup: what is compared.
      workdir: takes the runs; what lies there and is finished is not run again.
      workers: runs at a time.
      steps: of the students that are tested; 0: as configured.
      tuning_steps: of those that are tried.

    Returns:
      All scores.
    """
    # Whose images are not there ends before any run starts.
    Splits()[read_run(resolve(setup.config, setup.fields)).data]
    if setup.beside_alone:
        setup = _beside_alone(setup, workdir, workers, tuning_steps)
    tried = _jobs(setup, workdir, (TUNING_SEED,), tuning_steps)
    if setup.teacher is not None:
        _fill_store(setup, workdir, tried[Case(TEACHER, 0, TUNING_SEED)])
    tuning = _scores(tried, list(tried), workers, ("recall_at_1", CHOSEN_BY), "validation/")
    return train_chosen(setup, tuning, workdir, workers, steps)


def train_chosen(setup: Setup, tuning: Scores, workdir: Path, workers: int, steps: int) -> Found:
    """Tests the settings that validated best; the arguments are those of `compare`."""
    methods, chosen = setup.methods, choose(tuning, setup.methods)
    final = _jobs(setup, workdir, SEEDS, steps)
    tested = [case for case in final if case.setting == chosen[case.method]]
    # A worker that waits for a teacher does nothing else.
    tested.sort(key=lambda case: case.method != TEACHER)
    results = _scores(final, tested, workers, setup.metrics)
    return Found(methods, tuning, chosen, results)


def _beside_alone(setup: Setup, workdir: Path, workers: int, steps: int) -> Setup:
    """The other methods beside the losses that validate best alone, which are tried first."""
    own = setup._replace(methods={ALONE: setup.methods[ALONE]})
    jobs = _jobs(own, workdir, (TUNING_SEED,), steps)
    tried = [case for case in jobs if case.method == ALONE]
    tuning = _scores(jobs, tried, workers, (CHOSEN_BY,), "validation/")
    best = setup.methods[ALONE][choose(tuning, own.methods)[ALONE]]
    methods = {
        method: settings if method == ALONE else tuple(best | losses for losses in settings)
        for method, settings in setup.methods.items()
    }
    return setup._replace(methods=methods)


def read_tuning(path: Path, setup: Setup) -> Scores:
    """The scores in validation that `write_rows` wrote, of the setup's methods.

    Raises:
      UserError: the file is missing, or is of other settings.
    """
    if not path.exists():
        raise UserError(f"{path}: must exist; run the command without --long first")
    with path.open(newline="") as file:
        rows = {
            Case(row["method"], int(row["setting"]), int(row["seed"])): row
            for row in csv.DictReader(file)
        }
    cases = list(_cases(setup.methods, TUNING_SEED))
    for case in cases:
        told = setting_name(*case[:2], setup.methods)
        found = rows[case]["losses"] if case in rows else "nothing"
        if found != told:
            raise UserError(
                f"{path}: setting {case.setting} of {case.method!r} must be {told!r} (got "
                f"{found!r}); run the command without --long again"
            )
    return {case: {CHOSEN_BY: float(rows[case][CHOSEN_BY])} for case in cases}


def choose(tuning: Scores, methods: Methods) -> dict[str, int]:
    """The setting of each method that validated best, and the teacher's only one."""
    numbers = {
        method: max(
            range(len(settings)), key=lambda s: tuning[Case(method, s, TUNING_SEED)][CHOSEN_BY]
        )
        for method, settings in methods.items()
    }
    return {TEACHER: 0} | numbers


def table(found: Found) -> str:
    """The README's table: mean and standard deviation over seeds, best MAP@R first."""
    results, chosen = found.results, found.chosen
    metrics = list(next(iter(results.values())))

    def over_seeds(method: str, metric: str = CHOSEN_BY) -> np.ndarray:
        return np.array([results[Case(method, chosen[method], s)][metric] for s in SEEDS])

    teacher, alone = over_seeds(TEACHER), over_seeds(ALONE)
    heads = ["method", "setting", *(HEADS[metric] for metric in metrics)]
    heads += ["MAP@R over the student alone, by seed", "gap"]
    lines = [f"| {' | '.join(heads)} |", "|" + len(heads) * "---|"]
    for method in sorted(chosen, key=lambda name: -over_seeds(name).mean()):
        own = over_seeds(method)
        columns = [
            method,
            setting_name(method, chosen[method], found.methods),
            *(spread(over_seeds(method, metric).tolist()) for metric in metrics),
            " ".join(f"{lead:+.3f}" for lead in own - alone),
            spread(((own - alone) / (teacher - alone)).tolist()),
        ]
        lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines)


def setting_name(method: str, number: int, methods: Methods) -> str:
    """A setting in short: each loss's weight and what else was tuned; nothing for the teacher."""
    parts = []
    for name, loss in methods[method][number].items() if method != TEACHER else ():
        rest = ", ".join(f"{key} {loss[key]:g}" for key in TOLD if key in loss)
        parts.append(f"{loss['weight']:g} {name}" + (f" ({rest})" if rest else ""))
    return " + ".join(parts)


def write_rows(path: Path, scores: Scores, methods: Methods) -> None:
    """Writes a row for each network: its case, its setting in short, its scores."""
    columns = [*Case._fields, "losses", *next(iter(scores.values()))]
    rows = (
        [*case, setting_name(*case[:2], methods), *row.values()] for case, row in scores.items()
    )
    write_csv(path, columns, rows)


def write_curves(path: Path, found: Found, setup: Setup, workdir: Path, steps: int) -> None:
    """Writes a row for each validation of each network that was tested.

    Args:
      path: of the CSV file.
      found: of `train_chosen`.
      setup: of it.
      workdir: of it.
      steps: of the students.
    """
    jobs = _jobs(setup, workdir, SEEDS, steps)
    metrics = ("recall_at_1", CHOSEN_BY)
    rows = (
        [*case, row["step"], *(row[f"validation/{metric}"] for metric in metrics)]
        for case in found.results
        for row in read_log(jobs[case].workdir)
        if f"validation/{CHOSEN_BY}" in row
    )
    write_csv(path, [*Case._fields, "step", *metrics], rows)


def _jobs(setup: Setup, workdir: Path, seeds: Sequence[int], steps: int) -> dict[Case, Job]:
    """Every run with some seeds."""
    return {
        case: _job(case, setup, workdir, steps)
        for seed in seeds
        for case in _cases(setup.methods, seed)
    }


def _cases(methods: Methods, seed: int) -> Iterable[Case]:
    """Every network of a seed, the teacher first, on which the others wait."""
    yield Case(TEACHER, 0, seed)
    for method, settings in methods.items():
        yield from (Case(method, number, seed) for number in range(len(settings)))


def _job(case: Case, setup: Setup, workdir: Path, steps: int) -> Job:
    """The run that trains a network alone."""
    folder = workdir / f"seed{case.seed}"
    shared = setup.teacher is not None
    teacher = (workdir if shared else folder) / TEACHER
    teacher_seed = setup.teacher if setup.teacher is not None else case.seed
    name = f"{case.method}, setting {case.setting}"
    overrides: dict[str, Any] = {"baseline": {}}
    length = {"steps": steps, "eval_every": setup.eval_every or steps} if steps else {}
    if case.method == TEACHER:
        overrides |= teacher_fields(setup.config, resolve(setup.config, setup.fields))
        steps = setup.teacher_steps
        overrides |= {"steps": steps, "eval_every": steps} if steps else {}
        # Where its images differ, the whole field is given.
        threads = {"num_threads": 1}
        data = overrides.get("data")
        overrides |= {"data": data | threads} if data else {"data.num_threads": 1}
        return Job(name, setup.config, overrides, teacher_seed, teacher)
    losses = setup.methods[case.method][case.setting]
    told = setting_name(case.method, case.setting, setup.methods)
    place = told.replace(" ", "_").replace("/", "_") + (f",_{steps}_steps" if steps else "")
    overrides |= {**setup.fields, "losses": losses, "data.num_threads": 1, **length}
    after = None
    if any(map(needs_teacher, losses)):
        after = teacher
        overrides |= {
            "store_teacher": True,
            "teacher.seed": teacher_seed,
            "teacher.checkpoint": str(teacher.absolute()),
        }
    else:
        kept = {f: v for f, v in overrides.items() if not f.startswith("teacher.")}
        overrides = kept | {"teacher": {}, **setup.alone}
    return Job(name, setup.config, overrides, case.seed, folder / place, after)


def _fill_store(setup: Setup, workdir: Path, teacher: Job) -> None:
    """Has a shared teacher seen all views once, before several students want them at a time."""
    method = next(
        name for name, tried in setup.methods.items() if any(map(needs_teacher, tried[0]))
    )
    job = _job(Case(method, 0, TUNING_SEED), setup, workdir, 1)
    if failed := run_jobs([teacher, job], 1):
        raise SystemExit(f"error: {failed[0].name} failed; see above")


def _scores(
    made: Mapping[Case, Job],
    cases: Sequence[Case],
    workers: int,
    metrics: Sequence[str],
    prefix: str = "",
) -> Scores:
    """The scores of some networks, trained if they are not yet."""
    # One teacher may be that of several seeds.
    jobs = list({made[case].workdir: made[case] for case in cases}.values())
    if failed := run_jobs(jobs, workers):
        raise SystemExit(f"error: {len(failed)} of {len(jobs)} runs failed; see above")
    scores = {}
    for case in cases:
        own = collect([made[case]], metrics)[-1]
        scores[case] = {metric: own[prefix + metric] for metric in metrics}
    return scores
