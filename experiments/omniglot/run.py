"""Compares distillation losses on Omniglot; README.md has the question and the verdict.

    DARKRANK_DATA=DIR python -m experiments.omniglot.run [--workers N] [--workdir DIR]

experiments/comparison.py says how it goes.
"""

from collections.abc import Callable
from pathlib import Path

from experiments.comparison import ALONE, Losses, run_experiment

# Every method stands beside one of two losses on the labels, whichever validates better.
SUPCON: Losses = {"supcon": {"weight": 1.0, "temperature": 0.1}}
MULTI_SIMILARITY: Losses = {"multi_similarity": {"weight": 1.0}}


def _beside(with_supcon: list[Losses], with_multi_similarity: list[Losses]) -> list[Losses]:
    return [
        *(SUPCON | losses for losses in with_supcon),
        *(MULTI_SIMILARITY | losses for losses in with_multi_similarity),
    ]


def _hard(weight: float, alpha: float, beta: float, list_size: int | None) -> Losses:
    scores = {"alpha": alpha, "beta": beta, "list_size": list_size}
    return {"darkrank_hard": {"weight": weight} | scores}


def _soft(weight: float, alpha: float, beta: float, list_size: int | None) -> Losses:
    scores = {"alpha": alpha, "beta": beta, "list_size": list_size}
    how = {"method": "exact"} if list_size == 4 else {"method": "sampled", "num_samples": 2}
    return {"darkrank_soft": {"weight": weight} | scores | how}


def _ranks(kind: Callable[..., Losses], list_size: int | None, weight: float) -> list[Losses]:
    """Two distributions beside each loss on labels; a loss on ranks is a sum over its list."""
    shapes = ((3.0, 2.0), (6.0, 1.0))
    return _beside(
        [kind(weight, *scores, list_size) for scores in shapes],
        [kind(weight / 4, *scores, list_size) for scores in shapes],
    )


def _rkd(distance: float, angle: float) -> Losses:
    return {"rkd_distance": {"weight": distance}, "rkd_angle": {"weight": angle}}


def _relaxed(weight: float, sigma: float) -> Losses:
    return {"relaxed_contrastive": {"weight": weight, "sigma": sigma}}


def _match(weight: float) -> Losses:
    return {"embedding_match": {"weight": weight}}


# Four settings each.
METHODS: dict[str, list[Losses]] = {
    ALONE: [
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


if __name__ == "__main__":
    run_experiment(
        "configs/omniglot.py",
        METHODS,
        ("recall_at_1", "map_at_r"),
        Path("runs/omniglot_experiment"),
        __doc__ or "",
        long=6000,
    )
