"""Compares distillation losses on Omniglot; README.md has the question and the verdict.

    DARKRANK_DATA=DIR python -m experiments.omniglot.run [--workers N] [--workdir DIR]

Trains a teacher for each seed, tries every setting of every method with a seed of its own, chooses
by MAP@R on validation characters, trains the chosen settings with the other seeds, and only then
embeds the evaluation archive. Goes on where it was stopped; the tables are written at the end.
"""

import argparse
import csv
import multiprocessing
import os
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

TUNING_SEED, SEEDS = 3, (0, 1, 2)
METRICS = ("recall_at_1", "map_at_r")
Losses = dict[str, dict[str, Any]]

# Every method stands beside one of two losses on the labels, whichever validates better.
SUPCON: Losses = {"supcon": {"weight": 1.0, "temperature": 0.1}}
MULTI_SIMILARITY: Losses = {"multi_similarity": {"weight": 1.0}}


def _beside(with_supcon: list[Losses], with_multi_similarity: list[Losses]) -> list[Losses]:
    return [
        *(SUPCON | losses for losses in with_supcon),
        *(MULTI_SIMILARITY | losses for losses in with_multi_similarity),
    ]


def _hard(weight: float, alpha: float, beta: float, list_size: int | None) -> Losses:
    law = {"alpha": alpha, "beta": beta, "list_size": list_size}
    return {"darkrank_hard": {"weight": weight} | law}


def _soft(weight: float, alpha: float, beta: float, list_size: int | None) -> Losses:
    law = {"alpha": alpha, "beta": beta, "list_size": list_size}
    how = {"method": "exact"} if list_size == 4 else {"method": "sampled", "num_samples": 2}
    return {"darkrank_soft": {"weight": weight} | law | how}


def _ranks(kind: Any, list_size: int | None, weight: float) -> list[Losses]:
    """Two laws beside each loss on labels; a loss on ranks is a sum over its list."""
    laws = ((3.0, 2.0), (6.0, 1.0))
    return _beside(
        [kind(weight, *law, list_size) for law in laws],
        [kind(weight / 4, *law, list_size) for law in laws],
    )


def _rkd(distance: float, angle: float) -> Losses:
    return {"rkd_distance": {"weight": distance}, "rkd_angle": {"weight": angle}}


def _relaxed(weight: float, sigma: float) -> Losses:
    return {"relaxed_contrastive": {"weight": weight, "sigma": sigma}}


def _match(weight: float) -> Losses:
    return {"embedding_match": {"weight": weight}}


# Four settings each.
METHODS: dict[str, list[Losses]] = {
    "student alone": [
        {"supcon": {"weight": 1.0, "temperature": 0.07}},
        SUPCON,
        MULTI_SIMILARITY,
        {"multi_similarity": {"weight": 1.0, "beta": 20.0}},
    ],
    # The paper's alpha and beta.
    "DarkRank hard, list 4": _beside(
        [_hard(weight, 3.0, 3.0, 4) for weight in (0.1, 0.5)],
        [_hard(weight, 3.0, 3.0, 4) for weight in (0.03, 0.15)],
    ),
    "DarkRank soft, list 4": _beside(
        [_soft(weight, 3.0, 3.0, 4) for weight in (0.1, 0.5)],
        [_soft(weight, 3.0, 3.0, 4) for weight in (0.03, 0.15)],
    ),
    "DarkRank hard, list 32": _ranks(_hard, 32, 0.2),
    "DarkRank soft, list 32": _ranks(_soft, 32, 0.2),
    "DarkRank hard, whole batch": _ranks(_hard, None, 0.04),
    "DarkRank soft, whole batch": _ranks(_soft, None, 0.04),
    "RKD": _beside([_rkd(25.0, 50.0), _rkd(10.0, 100.0)], [_rkd(10.0, 20.0), _rkd(5.0, 50.0)]),
    "relaxed contrastive": _beside(
        [_relaxed(0.3, 0.5), _relaxed(1.0, 1.0)], [_relaxed(0.1, 0.5), _relaxed(0.3, 1.0)]
    ),
    "embedding match": _beside([_match(10.0), _match(20.0)], [_match(3.0), _match(10.0)]),
    "DarkRank soft, whole batch, and embedding match": _beside(
        [_soft(0.04, 6.0, 1.0, None) | _match(weight) for weight in (3.0, 10.0)],
        [_soft(0.01, 6.0, 1.0, None) | _match(weight) for weight in (1.0, 3.0)],
    ),
    "RKD and embedding match": _beside(
        [_rkd(25.0, 50.0) | _match(weight) for weight in (3.0, 10.0)],
        [_rkd(10.0, 20.0) | _match(weight) for weight in (1.0, 3.0)],
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--workdir", type=Path, default=Path("runs/omniglot_experiment"))
    arguments = parser.parse_args()
    workdir, here = arguments.workdir, Path(__file__).parent
    spawn = multiprocessing.get_context("spawn")
    cores = spawn.Queue()
    for core in range(arguments.workers):
        cores.put(core)
    with ProcessPoolExecutor(arguments.workers, spawn, _pin, (cores,)) as pool:
        tuning = _over(pool, workdir, (TUNING_SEED,), {m: range(4) for m in METHODS}, "validation")
        _write_rows(here / "tuning.csv", tuning)
        chosen = {
            method: max(range(4), key=lambda s: tuning[method, s, TUNING_SEED]["map_at_r"])
            for method in METHODS
        }
        results = _over(pool, workdir, SEEDS, {m: (s,) for m, s in chosen.items()}, "test")
        _write_rows(here / "results.csv", results)
    print(table(results, chosen))
    # When nothing else runs any more.
    for name, losses in (("teacher", None), ("student", METHODS["student alone"][0])):
        print(f"{name}: {_images_per_second(workdir, losses):,.0f} images/s")


def _over(
    pool: ProcessPoolExecutor,
    workdir: Path,
    seeds: tuple[int, ...],
    settings: dict[str, Any],
    split: str,
) -> dict[tuple[str, int, int], dict[str, float]]:
    """Scores on a split by method, setting and seed; trains what is not trained yet."""
    teachers = {seed: pool.submit(_score, workdir, None, seed, split) for seed in seeds}
    jobs: dict[tuple[str, int, int], Future] = {}
    for seed in seeds:
        # Its students wait for it.
        teachers[seed].result()
        jobs[("teacher", 0, seed)] = teachers[seed]
        for method, numbers in settings.items():
            for number in numbers:
                losses = METHODS[method][number]
                jobs[method, number, seed] = pool.submit(_score, workdir, losses, seed, split)
    return {case: job.result() for case, job in jobs.items()}


def table(results: dict[tuple[str, int, int], dict[str, float]], chosen: dict[str, int]) -> str:
    """The README's table: mean and standard deviation over seeds, best MAP@R first."""

    def over_seeds(method: str, metric: str) -> np.ndarray:
        return np.array([results[method, chosen.get(method, 0), s][metric] for s in SEEDS])

    def spread(values: np.ndarray) -> str:
        return f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"

    teacher, alone = over_seeds("teacher", "map_at_r"), over_seeds("student alone", "map_at_r")
    lines = [
        "| method | setting | Recall@1 | MAP@R | MAP@R over the student alone, by seed | gap |",
        "|---|" + 5 * "---|",
    ]
    for method in sorted(
        ["teacher", *METHODS], key=lambda name: -over_seeds(name, "map_at_r").mean()
    ):
        own = over_seeds(method, "map_at_r")
        columns = [
            method,
            _setting_name(METHODS[method][chosen[method]]) if method in METHODS else "",
            *(spread(over_seeds(method, metric)) for metric in METRICS),
            " ".join(f"{lead:+.3f}" for lead in own - alone),
            spread((own - alone) / (teacher - alone)),
        ]
        lines.append("| " + " | ".join(columns) + " |")
    return "\n".join(lines)


def _setting_name(losses: Losses) -> str:
    """A setting in short: each loss's weight and what else was tuned."""
    tuned = ("alpha", "beta", "sigma", "temperature")
    parts = []
    for name, loss in losses.items():
        rest = ", ".join(f"{key} {loss[key]:g}" for key in tuned if key in loss)
        parts.append(f"{loss['weight']:g} {name}" + (f" ({rest})" if rest else ""))
    return " + ".join(parts)


def _write_rows(path: Path, rows: dict[tuple[str, int, int], dict[str, float]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["method", "setting", "seed", "losses", *METRICS])
        for (method, number, seed), row in rows.items():
            losses = _setting_name(METHODS[method][number]) if method in METHODS else ""
            writer.writerow([method, number, seed, losses, *(row[metric] for metric in METRICS)])


def _pin(cores: Any) -> None:
    """Gives each worker a core of its own, so that workers do not slow each other down."""
    core = cores.get()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})


def _train(workdir: Path, losses: Losses | None, seed: int) -> Any:
    """The trained student of some losses, or without any the teacher; trained if it is not yet."""
    from configs import omniglot
    from darkrank_jax.training.mesh import make_mesh
    from darkrank_jax.training.run_config import needs_teacher, read_run
    from darkrank_jax.training.runs import train

    config = omniglot.get_config().unlock()
    teacher_path = workdir / f"seed{seed}" / "teacher"
    path = teacher_path
    if losses is None:
        config = config.teacher
    else:
        name = _setting_name(losses).replace(" ", "_").replace("/", "_")
        path = workdir / f"seed{seed}" / name
        config.losses, config.baseline = losses, {}
        config.teacher.seed, config.teacher.checkpoint = seed, str(teacher_path)
        config.store_teacher = any(map(needs_teacher, losses))
        if not config.store_teacher:
            config.teacher = {}
    config.seed = seed
    config.data.num_threads = 1
    return train(read_run(config.to_dict()), path, path.name, make_mesh(config.data.batch_size))


def _score(workdir: Path, losses: Losses | None, seed: int, split_name: str) -> dict[str, float]:
    from darkrank_jax.evaluation.retrieval import retrieval_metrics
    from darkrank_jax.training.mesh import make_mesh
    from darkrank_jax.training.network import embed
    from darkrank_jax.training.preflight import load_data

    network = _train(workdir, losses, seed)
    split = load_data(network.run.data)[split_name]
    mesh = make_mesh(network.run.data.batch_size)
    scores = retrieval_metrics(embed(network, split, mesh), split.labels)
    return {metric: scores[metric] for metric in METRICS}


def _images_per_second(workdir: Path, losses: Losses | None) -> float:
    from darkrank_jax.evaluation.embed import images_per_second
    from darkrank_jax.training.mesh import make_mesh
    from darkrank_jax.training.network import embed_fn
    from darkrank_jax.training.preflight import load_data

    network = _train(workdir, losses, TUNING_SEED)
    mesh = make_mesh(network.run.data.batch_size)
    images = load_data(network.run.data)["validation"].images
    return images_per_second(embed_fn(network, mesh), images)


if __name__ == "__main__":
    main()
