"""Compares distillation losses on photographs of cars; README.md has the question and the verdict.

    DARKRANK_DATA=DIR python -m experiments.cars196_half.run [--workers N] [--workdir DIR]

experiments/comparison.py says how it goes.
"""

from pathlib import Path

from experiments.comparison import ALONE, Losses, run_experiment

# Every method stands beside the same loss on the labels.
SOFTMAX: Losses = {"normalized_softmax": {"weight": 1.0, "temperature": 0.1}}


def _soft(weight: float) -> Losses:
    """The form of DarkRank that was best on Omniglot: soft, whole batch, beta 1."""
    scores = {"alpha": 6.0, "beta": 1.0, "list_size": None, "method": "sampled", "num_samples": 2}
    return SOFTMAX | {"darkrank_soft": {"weight": weight} | scores}


def _rkd(distance: float, angle: float) -> Losses:
    return SOFTMAX | {"rkd_distance": {"weight": distance}, "rkd_angle": {"weight": angle}}


def _relaxed(weight: float, sigma: float) -> Losses:
    return SOFTMAX | {"relaxed_contrastive": {"weight": weight, "sigma": sigma}}


def _match(weight: float) -> Losses:
    return SOFTMAX | {"embedding_match": {"weight": weight}}


# As many settings each.
METHODS: dict[str, tuple[Losses, ...]] = {
    ALONE: tuple(
        {"normalized_softmax": {"weight": 1.0, "temperature": temperature}}
        for temperature in (0.05, 0.1, 0.2, 0.3, 0.5)
    ),
    "DarkRank soft, whole batch": tuple(map(_soft, (0.02, 0.06, 0.2, 0.6, 2.0))),
    "RKD": tuple(_rkd(weight, 2 * weight) for weight in (10.0, 25.0, 50.0, 100.0, 200.0)),
    "relaxed contrastive": tuple(
        _relaxed(*setting)
        for setting in ((0.1, 0.5), (0.3, 0.5), (1.0, 0.5), (1.0, 1.0), (3.0, 1.0))
    ),
    "embedding match": tuple(map(_match, (1.0, 3.0, 10.0, 30.0, 100.0))),
    "DarkRank soft, whole batch, and embedding match": tuple(
        _soft(rank) | _match(match)
        for rank, match in ((0.06, 3.0), (0.06, 10.0), (0.2, 3.0), (0.2, 10.0), (0.6, 10.0))
    ),
}


if __name__ == "__main__":
    run_experiment(
        "configs/cars196_half.py",
        METHODS,
        ("recall_at_1", "map_at_r", "nmi"),
        Path("runs/cars196_half_experiment"),
        __doc__ or "",
        long=6000,
    )
