"""The same losses as others write them in PyTorch: what run.py compares with.

Written here after the formulas in common use; pytorch-metric-learning is called as it is.
"""

from collections.abc import Callable
from itertools import permutations

import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning.reducers import AvgNonZeroReducer

from experiments.loss_speed import batch as batches

Pair = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _distances(rows: torch.Tensor) -> torch.Tensor:
    squares = rows.square().sum(1)
    products = squares[:, None] + squares[None, :] - 2 * rows @ rows.T
    lengths = products.clamp(min=1e-12).sqrt()
    return lengths * (1 - torch.eye(len(rows)))


def _lists(student: torch.Tensor, teacher: torch.Tensor, size: int) -> list[torch.Tensor]:
    scores = [-3.0 * _distances(rows).pow(3) for rows in (student, teacher)]
    order = scores[1].sort(dim=1, descending=True)[1][:, 1 : size + 1]
    return [score.gather(1, order) for score in scores]


def darkrank_hard(size: int) -> Pair:
    """One logsumexp for each position, as in the code of RKD's authors."""

    def loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        scores = _lists(student, teacher, size)[0]
        rest = [scores[:, k:].logsumexp(1) for k in range(scores.shape[1])]
        return (torch.stack(rest, 1) - scores).sum(1).mean()

    return loss


def darkrank_hard_cumulative(size: int) -> Pair:
    """One logcumsumexp of the reversed list, the best that PyTorch has for it."""

    def loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        scores = _lists(student, teacher, size)[0]
        rest = scores.flip(1).logcumsumexp(1).flip(1)
        return (rest - scores).sum(1).mean()

    return loss


def darkrank_soft(size: int) -> Pair:
    """Every permutation by itself."""
    orders = torch.tensor(list(permutations(range(size))))

    def loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        logs = []
        for scores in _lists(student, teacher, size):
            ordered = scores[:, orders]
            logs.append((ordered - ordered.flip(2).logcumsumexp(2).flip(2)).sum(2))
        return (logs[1].exp() * (logs[1] - logs[0])).sum(1).mean()

    return loss


def rkd_distance(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Distances over their mean."""
    lengths = [_distances(rows) for rows in (student, teacher)]
    scaled = [length / length[length > 0].mean() for length in lengths]
    return torch.nn.functional.smooth_l1_loss(*scaled)


def rkd_angle(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """All angles at once, batch^3 of them."""
    angles = []
    for rows in (student, teacher):
        edges = torch.nn.functional.normalize(rows[None, :] - rows[:, None], dim=2)
        angles.append(torch.bmm(edges, edges.transpose(1, 2)))
    return torch.nn.functional.smooth_l1_loss(*angles)


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
