"""Compares distillation losses on Omniglot; README.md has the question and the verdict.

    DARKRANK_DATA=DIR python -m experiments.omniglot.run [--workers N] [--workdir DIR]

Trains a teacher for each seed, tries every setting of every method with seed 0, chooses by MAP@R on
validation characters, trains the chosen settings with all seeds, and only then embeds the
evaluation archive. Goes on where it was stopped; results.csv is written anew at the end.
"""

import argparse
import csv
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

SEEDS = (0, 1, 2)
SETTINGS = 2
SUPCON = {"weight": 1.0, "temperature": 0.1}
METRICS = ("recall_at_1", "map_at_r")


def _with_supcon(name: str, **arguments: Any) -> dict[str, dict]:
    return {"supcon": SUPCON, name: arguments}


def _weights(name: str, weights: tuple[float, ...], **arguments: Any) -> list[dict[str, dict]]:
    return [_with_supcon(name, weight=weight, **arguments) for weight in weights]


# As many settings for each. DarkRank's losses are sums over a list, hence the small weights.
METHODS: dict[str, list[dict[str, dict]]] = {
    "student alone": [
        {"supcon": {"weight": 1.0, "temperature": temperature}} for temperature in (0.05, 0.1)
    ],
    "DarkRank hard, list 4": _weights("darkrank_hard", (0.1, 0.5), list_size=4),
    "DarkRank soft, list 4": _weights("darkrank_soft", (0.1, 0.5), list_size=4),
    "DarkRank hard, list 32": _weights("darkrank_hard", (0.03, 0.1), list_size=32),
    "DarkRank hard, whole batch": _weights("darkrank_hard", (0.02, 0.04)),
    "DarkRank soft, whole batch": _weights(
        "darkrank_soft",
        (0.02, 0.04),
        beta=2.0,
        list_size=None,
        method="sampled",
        num_samples=2,
    ),
    "RKD": [
        {
            "supcon": SUPCON,
            "rkd_distance": {"weight": distance},
            "rkd_angle": {"weight": 2 * distance},
        }
        for distance in (10.0, 25.0)
    ],
    "relaxed contrastive": [
        {"relaxed_contrastive": {"weight": 1.0}},
        *_weights("relaxed_contrastive", (0.1,)),
    ],
    "embedding match": _weights("embedding_match", (3.0, 10.0)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--workdir", type=Path, default=Path("runs/omniglot_experiment"))
    arguments = parser.parse_args()
    workdir = arguments.workdir
    cores = multiprocessing.get_context("spawn").Queue()
    for core in range(arguments.workers):
        cores.put(core)
    with ProcessPoolExecutor(
        arguments.workers, multiprocessing.get_context("spawn"), _pin, (cores,)
    ) as pool:
        teachers = [pool.submit(_train_teacher, workdir, seed) for seed in SEEDS]
        # The teacher of seed 0 is enough to begin tuning with.
        teachers[0].result()
        tuning = {
            (method, setting): pool.submit(_validate, workdir, method, setting, 0)
            for setting in range(SETTINGS)
            for method in METHODS
        }
        scores = {case: job.result() for case, job in tuning.items()}
        chosen = {
            method: max(range(SETTINGS), key=lambda setting: scores[method, setting]["map_at_r"])
            for method in METHODS
        }
        for teacher in teachers:
            teacher.result()
        final = {
            (method, seed): pool.submit(_test, workdir, method, chosen[method], seed)
            for seed in SEEDS
            for method in METHODS
        }
        final |= {
            ("teacher", seed): pool.submit(_test, workdir, "teacher", 0, seed) for seed in SEEDS
        }
        results = {case: job.result() for case, job in final.items()}
    here = Path(__file__).parent
    _write_rows(here / "tuning.csv", ("method", "setting"), scores)
    _write_rows(here / "results.csv", ("method", "seed"), results)
    print(table(results, chosen))


def table(results: dict[tuple[str, int], dict[str, float]], chosen: dict[str, int]) -> str:
    """The README's table: mean and standard deviation over seeds, best MAP@R first."""

    def spread(values: list[float]) -> str:
        return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"

    def over_seeds(method: str, metric: str) -> list[float]:
        return [results[method, seed][metric] for seed in SEEDS]

    methods = sorted(
        {method for method, _ in results}, key=lambda name: -np.mean(over_seeds(name, "map_at_r"))
    )
    lines = [
        "| method | setting | Recall@1 | MAP@R | gap recovered (MAP@R) |",
        "|---|" + 4 * "---|",
    ]
    teacher, alone = over_seeds("teacher", "map_at_r"), over_seeds("student alone", "map_at_r")
    for method in methods:
        columns = [spread(over_seeds(method, metric)) for metric in METRICS]
        own = over_seeds(method, "map_at_r")
        shares = [(m - a) / (t - a) for m, a, t in zip(own, alone, teacher, strict=True)]
        setting = _setting_name(method, chosen.get(method, 0))
        lines.append(f"| {method} | {setting} | {' | '.join(columns)} | {spread(shares)} |")
    return "\n".join(lines)


def _setting_name(method: str, setting: int) -> str:
    """The weights of a setting, in short."""
    losses = METHODS[method][setting] if method in METHODS else {"supcon": SUPCON}
    parts = [f"{loss['weight']:g} {name}" for name, loss in losses.items()]
    if method == "student alone":
        parts = [f"temperature {losses['supcon']['temperature']:g}"]
    return " + ".join(parts)


def _write_rows(path: Path, names: tuple[str, str], rows: dict[tuple, dict[str, float]]) -> None:
    columns = sorted({column for row in rows.values() for column in row})
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*names, *columns])
        for case, row in rows.items():
            writer.writerow([*case, *(row.get(column, "") for column in columns)])


def _pin(cores: Any) -> None:
    """Gives each worker a core of its own, so that workers do not slow each other down."""
    core = cores.get()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})


def _train_teacher(workdir: Path, seed: int) -> None:
    _train(workdir, "teacher", 0, seed)


def _train(workdir: Path, method: str, setting: int, seed: int) -> Any:
    """The trained network of a case; trained now if it is not yet."""
    from configs import omniglot
    from darkrank_jax.training.mesh import make_mesh
    from darkrank_jax.training.run_config import needs_teacher, read_run
    from darkrank_jax.training.runs import train

    config = omniglot.get_config().unlock()
    teacher_path = workdir / f"teacher_seed{seed}"
    if method == "teacher":
        config, path = config.teacher, teacher_path
    else:
        name = method.replace(", ", "_").replace(" ", "_")
        config.losses, config.baseline = METHODS[method][setting], {}
        config.teacher.seed, config.teacher.checkpoint = seed, str(teacher_path)
        if not any(needs_teacher(loss) for loss in METHODS[method][setting]):
            config.teacher = {}
        path = workdir / f"{name}_{setting}_seed{seed}"
    config.seed = seed
    config.data.num_threads = 1
    return train(read_run(config.to_dict()), path, path.name, make_mesh(config.data.batch_size))


def _validate(workdir: Path, method: str, setting: int, seed: int) -> dict[str, float]:
    """Scores on the validation characters."""
    return _scores(_train(workdir, method, setting, seed), "validation")


def _test(workdir: Path, method: str, setting: int, seed: int) -> dict[str, float]:
    """Scores on the evaluation archive."""
    return _scores(_train(workdir, method, setting, seed), "test")


def _scores(network: Any, name: str) -> dict[str, float]:
    from darkrank_jax.evaluation.embed import images_per_second
    from darkrank_jax.evaluation.retrieval import retrieval_metrics
    from darkrank_jax.training.mesh import make_mesh
    from darkrank_jax.training.network import embed, embed_fn
    from darkrank_jax.training.preflight import load_data

    mesh = make_mesh(network.run.data.batch_size)
    split = load_data(network.run.data)[name]
    scores = retrieval_metrics(embed(network, split, mesh), split.labels)
    return {metric: scores[metric] for metric in METRICS} | {
        "images_per_second": images_per_second(embed_fn(network, mesh), split.images),
        "parameters": network.num_parameters(),
        "training_seconds": network.seconds,
    }


if __name__ == "__main__":
    main()
