"""Compares distillation from a pretrained teacher on three sets; README.md has the question.

    DARKRANK_DATA=DIR DARKRANK_WEIGHTS=DIR python -m experiments.photographs.run
        [--students scratch ...] [--sets grocery_store ...] [--budgets short long]
        [--methods NAME ...] [--workers N] [--workdir DIR]

experiments/comparison.py says how it goes: settings are tried at the short budget with a seed of
their own, and chosen on validation classes; test classes are looked at once, with other seeds.
"""

import argparse
import itertools
import os
from pathlib import Path
from typing import NamedTuple

from darkrank_jax.runs.sweep.jobs import default_workers
from experiments.comparison import (
    ALONE,
    Losses,
    Methods,
    Setup,
    add_workers,
    compare,
    table,
    write_rows,
)
from experiments.refusing import refusing

METRICS = ("recall_at_1", "map_at_r", "nmi")
HERE = Path(__file__).parent
BUDGETS = ("short", "long")


class Student(NamedTuple):
    """A student and its teacher: the config, and the student's steps at each budget."""

    config: str
    budgets: dict[str, int]


STUDENTS = {
    "scratch": Student("configs/photographs.py", {"short": 1500, "long": 4000}),
    "pretrained": Student("configs/pretrained_student.py", {"short": 600, "long": 1500}),
}


class Photographs(NamedTuple):
    """A set: its archive within DARKRANK_DATA, and how many of its classes are trained on."""

    archive: str
    classes: int


# The smallest first.
SETS = {
    "grocery_store": Photographs("grocery_store/grocery_store_128px.zip", 40),
    "cars196_half": Photographs("cars196_half/cars196_half_96px.zip", 98),
    "plankton": Photographs("plankton/plankton_96px.zip", 54),
}


def _soft(weight: float) -> Losses:
    scores = {"alpha": 6.0, "beta": 1.0, "list_size": None, "method": "sampled", "num_samples": 2}
    return {"darkrank_soft": {"weight": weight} | scores}


def _rkd(weight: float) -> Losses:
    return {"rkd_distance": {"weight": weight}, "rkd_angle": {"weight": 2 * weight}}


def _relaxed(weight: float) -> Losses:
    return {"relaxed_contrastive": {"weight": weight, "sigma": 1.0}}


def _match(weight: float) -> Losses:
    return {"embedding_match": {"weight": weight}}


# As many settings each; the others stand beside the loss on labels that does best alone.
METHODS: dict[str, tuple[Losses, ...]] = {
    ALONE: tuple(
        {"normalized_softmax": {"weight": 1.0, "temperature": temperature}}
        for temperature in (0.1, 0.2, 0.4)
    ),
    "embedding match": tuple(map(_match, (1.0, 10.0, 100.0))),
    "DarkRank soft, whole batch, and embedding match": tuple(
        _soft(rank) | _match(match) for rank, match in ((0.05, 1.0), (0.2, 10.0), (1.0, 100.0))
    ),
    "DarkRank soft, whole batch": tuple(map(_soft, (0.05, 0.3, 1.5))),
    "RKD": tuple(map(_rkd, (2.5, 25.0, 100.0))),
    "relaxed contrastive": tuple(map(_relaxed, (0.3, 1.0, 3.0))),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add_workers(parser)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--students", nargs="+", choices=STUDENTS, default=list(STUDENTS))
    parser.add_argument("--budgets", nargs="+", choices=BUDGETS, default=BUDGETS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--workdir", type=Path, default=Path("runs/photographs"))
    arguments = parser.parse_args()
    with refusing():
        workers = arguments.workers or default_workers()
        methods = {method: METHODS[method] for method in METHODS if method in arguments.methods}
        for student, name in itertools.product(arguments.students, arguments.sets):
            steps = STUDENTS[student].budgets
            setup = setup_of(STUDENTS[student].config, SETS[name], methods)
            place = arguments.workdir / student / name
            for budget in arguments.budgets:
                found = compare(setup, place, workers, steps[budget], steps["short"])
                write_rows(HERE / f"{student}_{name}_tuning.csv", found.tuning, found.methods)
                write_rows(HERE / f"{student}_{name}_{budget}.csv", found.results, found.methods)
                print(f"\n{student}, {name}, {steps[budget]:,} steps:\n")
                print(table(found), flush=True)


def setup_of(config: str, photographs: Photographs, methods: Methods) -> Setup:
    """What is compared on a set: one teacher for all seeds, which sees each view once."""
    path = os.path.join(os.environ.get("DARKRANK_DATA", ""), photographs.archive)
    data = {"path": path, "options": {"num_train_classes": photographs.classes}}
    fields = {f"data.{name}": value for name, value in data.items()}
    fields |= {f"teacher.{field}": value for field, value in fields.items()}
    # Alone, a student sees a new view each time, which is better if anything.
    alone = {"data.views": 0}
    return Setup(config, methods, METRICS, fields, alone, teacher=0, beside_alone=True)


if __name__ == "__main__":
    main()
