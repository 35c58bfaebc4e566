"""Compares distillation losses on photographs of cars; README.md has the question and the verdict.

    DARKRANK_DATA=DIR python -m experiments.cars196_half.run [--workers N] [--workdir DIR]

Trains a teacher for each seed, tries every setting of every method with a seed of its own, chooses
by MAP@R on validation classes, trains the chosen settings with the other seeds, and only then
embeds the test classes. Goes on where it was stopped; the tables are written at the end.
"""

import argparse
import csv
import multiprocessing
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TUNING_SEED, SEEDS = 3, (0, 1, 2)
METRICS = {"recall_at_1": "Recall@1", "map_at_r": "MAP@R", "nmi": "NMI"}
# First centres of k-means; the tightest of the clusterings counts.
RESTARTS = 5
TEACHER = "teacher"
Losses = dict[str, dict[str, Any]]


class Case(NamedTuple):
    """A network: its method, the number of the setting, and the seed."""

    method: str
    setting: int
    seed: int


Scores = dict[Case, dict[str, float]]

# Every method stands beside the same loss on the labels.
SOFTMAX: Losses = {"normalized_softmax": {"weight": 1.0, "temperature": 0.1}}


def _soft(weight: float) -> Losses:
    """The form of DarkRank that was best on Omniglot: soft, whole batch, beta 1."""
    law = {"alpha": 6.0, "beta": 1.0, "list_size": None, "method": "sampled", "num_samples": 2}
    return SOFTMAX | {"darkrank_soft": {"weight": weight} | law}


def _rkd(distance: float, angle: float) -> Losses:
    return SOFTMAX | {"rkd_distance": {"weight": distance}, "rkd_angle": {"weight": angle}}


def _relaxed(weight: float, sigma: float) -> Losses:
    return SOFTMAX | {"relaxed_contrastive": {"weight": weight, "sigma": sigma}}


def _match(weight: float) -> Losses:
    return SOFTMAX | {"embedding_match": {"weight": weight}}


# As many settings each.
METHODS: dict[str, tuple[Losses, ...]] = {
    "student alone": tuple(
        {"normalized_softmax": {"weight": 1.0, "temperature": temperature}}
        for temperature in (0.05, 0.1, 0.2)
    ),
    "DarkRank soft, whole batch": (_soft(0.02), _soft(0.06), _soft(0.2)),
    "RKD": (_rkd(10.0, 20.0), _rkd(25.0, 50.0), _rkd(50.0, 100.0)),
    "relaxed contrastive": (_relaxed(0.3, 0.5), _relaxed(1.0, 1.0), _relaxed(3.0, 1.0)),
    "embedding match": (_match(3.0), _match(10.0), _match(30.0)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--workdir", type=Path, default=Path("runs/cars196_half_experiment"))
    parser.add_argument("--steps", type=int, default=0, help="of all networks; 0: as configured")
    parser.add_argument("--tables", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    cores = spawn.Queue()
    for core in range(arguments.workers):
        cores.put(core)
    common = (arguments.workdir, arguments.steps)
    with ProcessPoolExecutor(arguments.workers, spawn, _pin, (cores,)) as pool:
        seeds = (TUNING_SEED, *SEEDS)
        list(pool.map(_train_teacher, *zip(*((*common, seed) for seed in seeds), strict=True)))
        tried = [
            Case(method, number, TUNING_SEED)
            for method, settings in METHODS.items()
            for number in range(len(settings))
        ]
        tuning = _score_all(pool, common, [Case(TEACHER, 0, TUNING_SEED), *tried], "validation")
        _write_rows(arguments.tables / "tuning.csv", tuning)
        chosen = {
            method: max(range(len(settings)), key=lambda s: _map_at_r(tuning, method, s))
            for method, settings in METHODS.items()
        }
        final = [Case(method, chosen.get(method, 0), s) for s in SEEDS for method in _names()]
        results = _score_all(pool, common, final, "test")
        _write_rows(arguments.tables / "results.csv", results)
    print(table(results, chosen))


def _names() -> list[str]:
    return [TEACHER, *METHODS]


def _map_at_r(tuning: Scores, method: str, setting: int) -> float:
    return tuning[Case(method, setting, TUNING_SEED)]["map_at_r"]


def _score_all(
    pool: ProcessPoolExecutor, common: tuple[Path, int], cases: Iterable[Case], split: str
) -> Scores:
    """Scores on a split; trains what is not trained yet."""
    jobs = {case: pool.submit(_score, *common, case, split) for case in cases}
    return {case: job.result() for case, job in jobs.items()}


def table(results: Scores, chosen: dict[str, int]) -> str:
    """The README's table: mean and standard deviation over seeds, best MAP@R first."""

    def over_seeds(method: str, metric: str) -> np.ndarray:
        cases = [Case(method, chosen.get(method, 0), seed) for seed in SEEDS]
        return np.array([results[case][metric] for case in cases])

    def spread(values: np.ndarray) -> str:
        return f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"

    teacher, alone = over_seeds(TEACHER, "map_at_r"), over_seeds("student alone", "map_at_r")
    heads = ["method", "setting", *METRICS.values(), "MAP@R over the student alone, by seed", "gap"]
    lines = ["| " + " | ".join(heads) + " |", "|" + len(heads) * "---|"]
    for method in sorted(_names(), key=lambda name: -over_seeds(name, "map_at_r").mean()):
        own = over_seeds(method, "map_at_r")
        columns = [
            method,
            _setting_name(method, chosen.get(method, 0)),
            *(spread(over_seeds(method, metric)) for metric in METRICS),
            " ".join(f"{lead:+.3f}" for lead in own - alone),
            spread((own - alone) / (teacher - alone)),
        ]
        lines.append("| " + " | ".join(columns) + " |")
    return "\n".join(lines)


def _setting_name(method: str, number: int) -> str:
    """A setting in short: each loss's weight and what else was set."""
    if method == TEACHER:
        return ""
    told = ("temperature", "alpha", "beta", "sigma")
    parts = []
    for name, loss in METHODS[method][number].items():
        rest = ", ".join(f"{key} {loss[key]:g}" for key in told if key in loss)
        parts.append(f"{loss['weight']:g} {name}" + (f" ({rest})" if rest else ""))
    return " + ".join(parts)


def _write_rows(path: Path, scores: Scores) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["method", "setting", "seed", "losses", *METRICS])
        for case, row in scores.items():
            losses = _setting_name(case.method, case.setting)
            writer.writerow([*case, losses, *(row[metric] for metric in METRICS)])


def _pin(cores: Any) -> None:
    """Gives each worker a core of its own, so that workers do not slow each other down."""
    core = cores.get()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})


def _train_teacher(workdir: Path, steps: int, seed: int) -> None:
    """A job: only the path of what it trained is needed."""
    _train(workdir, steps, Case(TEACHER, 0, seed))


def _train(workdir: Path, steps: int, case: Case) -> Any:
    """The trained network of a case; trained if it is not yet."""
    from configs import cars196_half
    from darkrank_jax.training.mesh import make_mesh
    from darkrank_jax.training.run_config import needs_teacher, read_run
    from darkrank_jax.training.runs import train

    config = cars196_half.get_config().unlock()
    folder = workdir / f"seed{case.seed}"
    name = TEACHER
    if case.method == TEACHER:
        config = config.teacher
    else:
        name = _setting_name(case.method, case.setting).replace(" ", "_")
        config.losses, config.baseline = METHODS[case.method][case.setting], {}
        config.teacher.seed, config.teacher.checkpoint = case.seed, str(folder / TEACHER)
        config.store_teacher = any(map(needs_teacher, config.losses))
        if not config.store_teacher:
            config.teacher = {}
    config.seed = case.seed
    config.data.num_threads = 1
    if steps:
        config.steps, config.eval_every = steps, steps
    run = read_run(config.to_dict())
    return train(run, folder / name, name, make_mesh(config.data.batch_size))


def _score(workdir: Path, steps: int, case: Case, split_name: str) -> dict[str, float]:
    import jax

    from darkrank_jax.evaluation.clustering import clustering_metrics
    from darkrank_jax.evaluation.retrieval import retrieval_metrics
    from darkrank_jax.training.mesh import make_mesh
    from darkrank_jax.training.network import embed
    from darkrank_jax.training.preflight import load_data

    network = _train(workdir, steps, case)
    split = load_data(network.run.data)[split_name]
    embeddings = embed(network, split, make_mesh(network.run.data.batch_size))
    found = retrieval_metrics(embeddings, split.labels)
    key = jax.random.key(0)
    found |= clustering_metrics(embeddings, split.labels, key=key, restarts=RESTARTS)
    return {metric: found[metric] for metric in METRICS}


if __name__ == "__main__":
    main()
