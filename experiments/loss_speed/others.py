"""The same losses as others have them in PyTorch: what run.py compares with."""

from collections.abc import Callable

import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning.reducers import AvgNonZeroReducer

from experiments.loss_speed import batch as batches
from experiments.loss_speed.torch_relations import (
    Pair,
    darkrank_hard,
    darkrank_hard_cumulative,
    darkrank_soft,
    rkd_angle,
    rkd_distance,
)


def triplet() -> Pair:
    """All triplets."""
    return pml.TripletMarginLoss(margin=0.2, reducer=AvgNonZeroReducer())


RANKED = {
    "darkrank_hard": darkrank_hard,
    "darkrank_hard_cumulative": darkrank_hard_cumulative,
    "darkrank_soft": darkrank_soft,
}
RELATIONAL: dict[str, Pair] = {"rkd_distance": rkd_distance, "rkd_angle": rkd_angle}
# Name of ours -> the loss of pytorch-metric-learning on embeddings and labels, our defaults.
LABELLED: dict[str, Callable[[], Pair]] = {
    "triplet": triplet,
    "multi_similarity": lambda: pml.MultiSimilarityLoss(alpha=2.0, beta=50.0, base=0.5),
    "supcon": lambda: pml.SupConLoss(temperature=0.1),
    "contrastive": lambda: pml.ContrastiveLoss(pos_margin=0.0, neg_margin=1.0),
    "circle": lambda: pml.CircleLoss(m=0.4, gamma=80),
    "margin": lambda: pml.MarginLoss(margin=0.2, beta=1.2),
}
# The same with weights or proxies of (classes, dim).
CLASSIFIED: dict[str, Callable[[int, int], torch.nn.Module]] = {
    "proxy_anchor": lambda classes, dim: pml.ProxyAnchorLoss(classes, dim, margin=0.1, alpha=32),
    "proxy_nca": lambda classes, dim: pml.ProxyNCALoss(classes, dim),
    "arcface": lambda classes, dim: pml.ArcFaceLoss(classes, dim, margin=28.6, scale=64),
    "cosface": lambda classes, dim: pml.CosFaceLoss(classes, dim, margin=0.35, scale=64),
}


def build(name: str, batch: int, *, list_size: int = 0) -> Callable[[], None]:
    """What computes value and gradient of a loss once, to be called again and again."""
    arrays = {key: torch.tensor(value) for key, value in batches.arrays(batch).items()}
    inputs = arrays["embeddings"].requires_grad_(), arrays["teacher_embeddings"]
    if name in RANKED:
        loss = RANKED[name](list_size)
    elif name in RELATIONAL:
        loss = RELATIONAL[name]
    else:
        inputs = inputs[0], arrays["labels"].long()
        known = LABELLED | {
            name: lambda make=make: make(batches.CLASSES, batches.DIM)
            for name, make in CLASSIFIED.items()
        }
        loss = known[name]()

    def run() -> None:
        inputs[0].grad = None
        loss(*inputs).backward()

    return run
