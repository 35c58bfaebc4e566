"""Losses of a teacher's relations as people write them in PyTorch, after the formulas."""

from collections.abc import Callable
from itertools import permutations

import torch

Pair = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def distances(rows: torch.Tensor) -> torch.Tensor:
    """Euclidean, of every row from every other."""
    squares = rows.square().sum(1)
    products = squares[:, None] + squares[None, :] - 2 * rows @ rows.T
    lengths = products.clamp(min=1e-12).sqrt()
    return lengths * (1 - torch.eye(len(rows), device=rows.device))


def _lists(student: torch.Tensor, teacher: torch.Tensor, size: int) -> list[torch.Tensor]:
    scores = [-3.0 * distances(rows).pow(3) for rows in (student, teacher)]
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


def darkrank_soft(size: int, device: str = "cpu") -> Pair:
    """Every permutation by itself."""
    orders = torch.tensor(list(permutations(range(size))), device=device)

    def loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        logs = []
        for scores in _lists(student, teacher, size):
            ordered = scores[:, orders]
            logs.append((ordered - ordered.flip(2).logcumsumexp(2).flip(2)).sum(2))
        return (logs[1].exp() * (logs[1] - logs[0])).sum(1).mean()

    return loss


def rkd_distance(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Distances over their mean."""
    lengths = [distances(rows) for rows in (student, teacher)]
    scaled = [length / length[length > 0].mean() for length in lengths]
    return torch.nn.functional.smooth_l1_loss(*scaled)


def rkd_angle(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """All angles at once, batch^3 of them."""
    angles = []
    for rows in (student, teacher):
        edges = torch.nn.functional.normalize(rows[None, :] - rows[:, None], dim=2)
        angles.append(torch.bmm(edges, edges.transpose(1, 2)))
    return torch.nn.functional.smooth_l1_loss(*angles)
