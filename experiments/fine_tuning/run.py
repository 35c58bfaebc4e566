"""Compares a recipe of fine-tuning with a plain one; README.md has the question.

    DARKRANK_DATA=DIR DARKRANK_WEIGHTS=DIR python -m experiments.fine_tuning.run [--workers N]

Goes on where it was stopped.
"""

import argparse
from pathlib import Path
from typing import Any

from darkrank_jax.files import write_csv
from darkrank_jax.runs.sweep.jobs import Job, default_workers, run_jobs
from darkrank_jax.runs.sweep.seed_table import collect, spread
from experiments.comparison import add_workers
from experiments.refusing import refusing

CONFIG = "configs/fine_tuning.py"
METRICS = ("recall_at_1", "map_at_r")
SEEDS = (0, 1, 2)
# Dotted field -> value, where the config file has others.
SETTINGS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "plain": {
        "optimizer": {"name": "adamw", "weight_decay": 1e-4},
        "learning_rate": 3e-4,
        "learning_rates": {},
        "layer_decay": 1.0,
        "schedule": {"name": "cosine"},
        "freeze_steps": 0,
        "ema_decay": 0.0,
        "patience": 0,
        "data.augmentation": {"random_resized_crop": {"area": (0.4, 1.0)}, "horizontal_flip": {}},
    },
}


def jobs_of(workdir: Path, steps: int) -> list[Job]:
    """A run for each setting and seed.

    Args:
      workdir: takes the runs.
      steps: of each run; 0: as configured.
    """
    length = {"steps": steps, "epochs": 0.0, "eval_every": steps} if steps else {}
    return [
        Job(name, CONFIG, {**fields, **length}, seed, workdir / name / f"seed{seed}")
        for seed in SEEDS
        for name, fields in SETTINGS.items()
    ]


def main() -> None:
    """Trains, writes results.csv and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add_workers(parser)
    parser.add_argument("--workdir", type=Path, default=Path("runs/fine_tuning_experiment"))
    parser.add_argument("--steps", type=int, default=0, help="of all runs; 0: as configured")
    parser.add_argument("--tables", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    with refusing():
        jobs = jobs_of(arguments.workdir, arguments.steps)
        if failed := run_jobs(jobs, arguments.workers or default_workers()):
            raise SystemExit(f"error: {len(failed)} of {len(jobs)} runs failed; see above")
        rows = collect(jobs, METRICS)
        columns = ("name", "seed", *METRICS)
        path = arguments.tables / "results.csv"
        write_csv(path, columns, ([row[column] for column in columns] for row in rows))
    for name in SETTINGS:
        own = [row for row in rows if row["name"] == name]
        print(name, *(f"{m} {spread([float(row[m]) for row in own])}" for m in METRICS), sep="  ")


if __name__ == "__main__":
    main()
