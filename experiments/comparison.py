"""Compares ways to train a student, tuned equally; each experiment brings its methods.

Trains a teacher for each seed, tries every setting of every method with a seed of its own, chooses
by MAP@R on validation classes, and trains the chosen settings with the other seeds; only the test
scores of those are looked at. Goes on where it was stopped.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from darkrank_jax.config.run import needs_teacher
from experiments import sweep
from experiments.resolved import check_data, refusing, resolve, teacher_fields
from experiments.tables import spread, write_csv

TUNING_SEED, SEEDS = 3, (0, 1, 2)
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


def run_experiment(
    config: str, methods: Methods, metrics: Sequence[str], workdir: Path, description: str
) -> None:
    """The command of an experiment: trains, writes tuning.csv and results.csv, prints the table.

    Args:
      config: path of the config file of student and teacher, from the repository's root.
      methods: name -> settings, as many each; one is `ALONE`, the student without a teacher.
      metrics: of results.json, the columns.
      workdir: takes the runs, unless the command names another.
      description: of the command.
    """
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    sweep.add_workers(parser)
    parser.add_argument("--workdir", type=Path, default=workdir)
    parser.add_argument("--steps", type=int, default=0, help="of all networks; 0: as configured")
    parser.add_argument("--tables", type=Path, default=HERE / Path(config).stem)
    arguments = parser.parse_args()
    with refusing():
        check_data(resolve(config, {}))
        workers = arguments.workers or sweep.default_workers()
        made = {
            case: _job(case, config, methods, arguments.workdir, arguments.steps)
            for seed in (TUNING_SEED, *SEEDS)
            for case in _cases(methods, seed)
        }
        tried = [case for case in made if case.seed == TUNING_SEED]
        tuning = _scores(made, tried, workers, ("recall_at_1", CHOSEN_BY), "validation/")
        chosen = choose(tuning, methods)
        final = [c for c in made if c.seed in SEEDS and c.setting == chosen[c.method]]
        # A worker that waits for a teacher does nothing else.
        final.sort(key=lambda case: case.method != TEACHER)
        results = _scores(made, final, workers, metrics)
        write_rows(arguments.tables / "tuning.csv", tuning, methods)
        write_rows(arguments.tables / "results.csv", results, methods)
    print(table(results, chosen, methods))


def choose(tuning: Scores, methods: Methods) -> dict[str, int]:
    """The setting of each method that validated best, and the teacher's only one."""
    numbers = {
        method: max(
            range(len(settings)), key=lambda s: tuning[Case(method, s, TUNING_SEED)][CHOSEN_BY]
        )
        for method, settings in methods.items()
    }
    return {TEACHER: 0} | numbers


def table(results: Scores, chosen: Mapping[str, int], methods: Methods) -> str:
    """The README's table: mean and standard deviation over seeds, best MAP@R first."""
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
            setting_name(method, chosen[method], methods),
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


def _cases(methods: Methods, seed: int) -> Iterable[Case]:
    """Every network of a seed, the teacher first, on which the others wait."""
    yield Case(TEACHER, 0, seed)
    for method, settings in methods.items():
        yield from (Case(method, number, seed) for number in range(len(settings)))


def _job(case: Case, config: str, methods: Methods, workdir: Path, steps: int) -> sweep.Job:
    """The run that trains a network alone."""
    folder = workdir / f"seed{case.seed}"
    teacher = folder / TEACHER
    overrides: dict[str, Any] = {"baseline": {}}
    after = None
    if case.method == TEACHER:
        overrides |= teacher_fields(config, resolve(config, {}))
    else:
        losses = methods[case.method][case.setting]
        overrides["losses"] = losses
        if any(map(needs_teacher, losses)):
            after = teacher
            overrides |= {
                "store_teacher": True,
                "teacher.seed": case.seed,
                "teacher.checkpoint": str(teacher.absolute()),
            }
        else:
            overrides["teacher"] = {}
    if steps:
        overrides |= {"steps": steps, "eval_every": steps}
    name = setting_name(case.method, case.setting, methods).replace(" ", "_").replace("/", "_")
    overrides["data.num_threads"] = 1
    return sweep.Job(
        f"{case.method}, setting {case.setting}",
        config,
        overrides,
        case.seed,
        folder / (name or TEACHER),
        after,
    )


def _scores(
    made: Mapping[Case, sweep.Job],
    cases: Sequence[Case],
    workers: int,
    metrics: Sequence[str],
    prefix: str = "",
) -> Scores:
    """The scores of some networks, trained if they are not yet."""
    jobs = [made[case] for case in cases]
    if failed := sweep.run_jobs(jobs, workers):
        raise SystemExit(f"error: {len(failed)} of {len(jobs)} runs failed; see above")
    scores = {}
    for case in cases:
        own = sweep.collect([made[case]], metrics)[-1]
        scores[case] = {metric: own[prefix + metric] for metric in metrics}
    return scores
