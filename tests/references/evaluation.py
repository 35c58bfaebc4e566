"""Metrics of retrieval and clustering as their definitions read: slow loops, exact in float64."""

import numpy as np


def retrieval(embeddings: np.ndarray, labels: np.ndarray, ks: tuple[int, ...]) -> dict[str, float]:
    """One query after the other, one image of its list after the other."""
    names = ("precision_at_1", "map_at_r", "r_precision")
    names += ("mean_average_precision", "mean_reciprocal_rank", "ndcg")
    recalls, figures = {k: [] for k in ks}, {name: [] for name in names}
    for query in range(len(labels)):
        others = [i for i in range(len(labels)) if i != query]
        distance = {i: sum((embeddings[query] - embeddings[i]) ** 2) for i in others}
        # At the same distance, images of other classes come first.
        order = sorted(others, key=lambda i: (distance[i], labels[i] == labels[query]))
        hits = [labels[i] == labels[query] for i in order]
        for k in ks:
            recalls[k].append(any(hits[:k]))
        if total := sum(hits):
            precisions = [sum(hits[: i + 1]) / (i + 1) for i in range(len(hits))]
            within = [p for i, p in enumerate(precisions) if hits[i] and i < total]
            everywhere = [p for i, p in enumerate(precisions) if hits[i]]
            figures["precision_at_1"].append(hits[0])
            figures["map_at_r"].append(sum(within) / total)
            figures["r_precision"].append(sum(hits[:total]) / total)
            figures["mean_average_precision"].append(sum(everywhere) / total)
            figures["mean_reciprocal_rank"].append(1 / (hits.index(True) + 1))
            gains = [np.log(2) / np.log(2 + i) for i in range(len(hits))]
            gained = sum(gain for gain, hit in zip(gains, hits, strict=True) if hit)
            figures["ndcg"].append(gained / sum(gains[:total]))
    alone = len(labels) - len(figures["map_at_r"])
    scores = {f"recall_at_{k}": float(np.mean(recalls[k])) for k in ks}
    scores |= {name: float(np.mean(values)) if values else 0.0 for name, values in figures.items()}
    return scores | {"queries_alone": float(alone)}


def distance(first: np.ndarray, second: np.ndarray, metric: str = "euclidean") -> float:
    """Of two vectors."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    if metric == "cosine":
        return 1 - first @ second / np.sqrt(first @ first * (second @ second))
    return float(np.sqrt(sum((first - second) ** 2)))


def nearest(
    queries: np.ndarray, gallery: np.ndarray, k: int, exclude_self: bool, metric: str = "euclidean"
) -> list[list]:
    """For each query the k nearest (distance, index)."""
    return [
        sorted(
            (distance(query, row, metric), i)
            for i, row in enumerate(gallery)
            if not (exclude_self and i == j)
        )[:k]
        for j, query in enumerate(queries)
    ]


def pairwise_f1(clusters: np.ndarray, labels: np.ndarray) -> float:
    """One pair after the other."""
    pairs = [(i, j) for i in range(len(labels)) for j in range(i)]
    found = {pair for pair in pairs if clusters[pair[0]] == clusters[pair[1]]}
    true = {pair for pair in pairs if labels[pair[0]] == labels[pair[1]]}
    if not found and not true:
        return 1.0
    return 2 * len(found & true) / (len(found) + len(true))
