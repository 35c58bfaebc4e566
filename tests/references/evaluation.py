"""Metrics of retrieval and clustering as their definitions read: slow loops, exact in float64."""

import itertools

import numpy as np
from scipy import stats


def retrieval(
    embeddings: np.ndarray,
    labels: np.ndarray,
    ks: tuple[int, ...],
    gallery: np.ndarray | None = None,
    gallery_labels: np.ndarray | None = None,
) -> dict[str, float]:
    """One query after the other, one image of its list after the other."""
    alone = gallery is None
    gallery, known = (embeddings, labels) if alone else (gallery, gallery_labels)
    names = ("precision_at_1", "map_at_r", "r_precision")
    names += ("mean_average_precision", "mean_reciprocal_rank", "ndcg")
    recalls, figures = {k: [] for k in ks}, {name: [] for name in names}
    for query in range(len(labels)):
        others = [i for i in range(len(known)) if not (alone and i == query)]
        away = {i: sum((embeddings[query] - gallery[i]) ** 2) for i in others}
        # At the same distance, images of other classes come first.
        order = sorted(others, key=lambda i: (away[i], known[i] == labels[query]))
        hits = [known[i] == labels[query] for i in order]
        if alone or any(hits):
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
    unmatched = len(labels) - len(figures["map_at_r"])
    figures = {f"recall_at_{k}": recalls[k] for k in ks} | figures
    scores = {name: float(np.mean(values)) if values else 0.0 for name, values in figures.items()}
    return scores | {"queries_alone": float(unmatched)}


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


def purity(clusters: np.ndarray, labels: np.ndarray) -> float:
    """One cluster after the other."""
    groups = [labels[clusters == each].tolist() for each in set(clusters.tolist())]
    return sum(max(map(group.count, group)) for group in groups) / len(labels)


def distances(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """One pair after the other."""
    return np.array([[distance(query, row) for row in gallery] for query in queries])


def reid(distances, query_ids, gallery_ids, query_cameras, gallery_cameras, ks):
    """One query after the other, by Market-1501's rule."""
    names = [f"cmc_at_{k}" for k in ks] + ["average_precision", "inverse_negative_penalty"]
    values = {name: [] for name in names}
    for row, person, camera in zip(distances, query_ids, query_cameras, strict=True):
        seen = [
            (away, other == person)
            for away, other, by in zip(row, gallery_ids, gallery_cameras, strict=True)
            if not (other == person and by == camera)
        ]
        # At the same distance, other people come first.
        places = [i + 1 for i, (_, same) in enumerate(sorted(seen)) if same]
        precisions = [(i + 1) / place for i, place in enumerate(places)]
        found = [float(min(places) <= k) for k in ks] if places else [np.nan] * len(ks)
        found.append(float(np.mean(precisions)) if places else np.nan)
        found.append(len(places) / max(places) if places else np.nan)
        for name, value in zip(names, found, strict=True):
            values[name].append(value)
    return values


def single_shot(distances, query_ids, gallery_ids, query_cameras, gallery_cameras, ks):
    """Every draw of one image for each identity, one after the other."""
    curves = []
    for row, person, camera in zip(distances, query_ids, query_cameras, strict=True):
        kept = (gallery_ids != person) | (gallery_cameras != camera)
        groups = [np.flatnonzero(kept & (gallery_ids == each)) for each in np.unique(gallery_ids)]
        draws = list(itertools.product(*[group for group in groups if group.size]))
        ranks = []
        for draw in draws:
            own = [i for i in draw if gallery_ids[i] == person]
            if own:
                nearer = [i for i in draw if i != own[0] and row[i] <= row[own[0]]]
                ranks.append(1 + len(nearer))
        if ranks:
            curves.append([np.mean([rank <= k for rank in ranks]) for k in ks])
    return {f"cmc_at_{k}": float(np.mean(curves, axis=0)[i]) for i, k in enumerate(ks)}


def expanded(queries: np.ndarray, gallery: np.ndarray, k: int, alpha: float) -> np.ndarray:
    """One query after the other."""
    lines = []
    for query in queries:
        cosines = [1 - distance(query, row, "cosine") for row in gallery]
        total = query / np.linalg.norm(query)
        for i in sorted(range(len(gallery)), key=lambda i: -cosines[i])[:k]:
            total = total + max(cosines[i], 0) ** alpha * gallery[i] / np.linalg.norm(gallery[i])
        lines.append(total / np.linalg.norm(total))
    return np.array(lines)


def reranked(
    queries: np.ndarray, gallery: np.ndarray, k1: int, k2: int, weight: float
) -> np.ndarray:
    """Sets and vectors of one image after the other, over whole matrices in float64."""
    points = [*queries, *gallery]
    squares = distances(points, points) ** 2
    squares /= squares.max(axis=1, keepdims=True)
    order = squares.argsort(axis=1, kind="stable")

    def mutual(image: int, k: int) -> set[int]:
        return {int(i) for i in order[image, : k + 1] if image in order[i, : k + 1]}

    vectors = np.zeros_like(squares)
    for image in range(len(points)):
        first = mutual(image, k1)
        members = set(first)
        for other in first:
            near = mutual(other, round(k1 / 2))
            if len(near & first) > 2 / 3 * len(near):
                members |= near
        for member in members:
            vectors[image, member] = np.exp(-squares[image, member])
        vectors[image] /= vectors[image].sum()
    vectors = np.array([vectors[order[image, :k2]].mean(axis=0) for image in range(len(points))])
    ours, theirs = vectors[: len(queries)], vectors[len(queries) :]
    jaccard = [
        [1 - np.minimum(one, two).sum() / np.maximum(one, two).sum() for two in theirs]
        for one in ours
    ]
    return (1 - weight) * np.array(jaccard) + weight * squares[: len(queries), len(queries) :]


def rank_agreement(
    student: np.ndarray, teacher: np.ndarray, ks: tuple[int, ...]
) -> dict[str, float]:
    """One query after the other; images tied for the last places have the same chance of them."""
    values: dict[str, list[float]] = {}
    for query in range(len(teacher)):
        others = [i for i in range(len(teacher)) if i != query]
        ours = np.array([distance(student[query], student[i]) for i in others])
        theirs = np.array([distance(teacher[query], teacher[i]) for i in others])
        order = np.argsort(theirs, kind="stable")
        for k in ks:
            last = np.sort(ours)[k - 1]
            within, tied = ours < last - 1e-9, np.abs(ours - last) <= 1e-9
            # Of those at the last distance each has the same chance of the places that are left.
            chance = within + tied * (k - within.sum()) / tied.sum()
            values.setdefault(f"overlap_at_{k}", []).append(chance[order[:k]].sum() / k)
            if k > 1:
                pair = ours[order[:k]].round(9), theirs[order[:k]].round(9)
                tau, rho = (
                    0.0 if len(set(pair[0])) == 1 else measure(*pair).statistic
                    for measure in (stats.kendalltau, stats.spearmanr)
                )
                values.setdefault(f"kendall_tau_at_{k}", []).append(tau)
                values.setdefault(f"spearman_at_{k}", []).append(rho)
    return {name: float(np.mean(column)) for name, column in values.items()}


def cross_recall(
    queries: np.ndarray, gallery: np.ndarray, labels: np.ndarray, ks: tuple[int, ...]
) -> dict[str, float]:
    """One query after the other, the gallery without its own image."""
    found = np.array(nearest(queries, gallery, len(gallery) - 1, True))[..., 1].astype(int)
    hits = labels[found] == labels[:, None]
    return {f"recall_at_{k}": float(hits[:, :k].any(axis=1).mean()) for k in ks}
