"""The same evaluations as others do them: what run.py compares with.

faiss, pytorch-metric-learning and scikit-learn are called as they are. The re-identification loop
and the dense re-ranking are written here after the programs in common use.
"""

from typing import Any

import faiss
import numpy as np
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors

RETRIEVAL = (
    "precision_at_1",
    "r_precision",
    "mean_average_precision_at_r",
    "mean_average_precision",
    "mean_reciprocal_rank",
)


def faiss_flat(queries: np.ndarray, gallery: np.ndarray, k: int) -> np.ndarray:
    """Exact search; the index is filled each time, which copies the gallery."""
    index = faiss.IndexFlatL2(gallery.shape[1])
    index.add(gallery)
    return index.search(queries, k)[1]


def scikit_learn_neighbors(queries: np.ndarray, gallery: np.ndarray, k: int) -> np.ndarray:
    """Exact search by brute force on all cores."""
    search = NearestNeighbors(n_neighbors=k, algorithm="brute", n_jobs=-1).fit(gallery)
    return search.kneighbors(queries, return_distance=False)


def scikit_learn_kmeans(embeddings: np.ndarray, clusters: int) -> np.ndarray:
    """K-means from k-means++ centres, once."""
    return KMeans(clusters, n_init=1, random_state=0, max_iter=50).fit_predict(embeddings)


def accuracy_calculator(
    embeddings: np.ndarray, labels: np.ndarray, *, k: str | None, clustering: bool
) -> dict[str, Any]:
    """pytorch-metric-learning's calculator; k=None ranks the whole gallery, as AP needs."""
    names = RETRIEVAL + (("NMI", "AMI") if clustering else ())
    calculator = AccuracyCalculator(include=names, k=k, device=torch.device("cpu"))
    return calculator.get_accuracy(torch.tensor(embeddings), torch.tensor(labels))


def distances(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances from inner products."""
    lengths = (queries**2).sum(axis=1)[:, None] + (gallery**2).sum(axis=1)
    return lengths - 2 * queries @ gallery.T


def reid_loop(
    queries: np.ndarray,
    gallery: np.ndarray,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_cameras: np.ndarray,
    *,
    whole_columns: bool = False,
) -> tuple[np.ndarray, float, float]:
    """CMC at 1 to 50, mAP and mINP: sort everything, then one query after the other.

    The usual loop has precisions one number after the other, in a list; `whole_columns` fixes that.
    """
    order = np.argsort(distances(queries, gallery), axis=1)
    right = (gallery_ids[order] == query_ids[:, None]).astype(np.int32)
    curves, precisions, penalties = [], [], []
    for row in range(len(queries)):
        places = order[row]
        junk = (gallery_ids[places] == query_ids[row]) & (
            gallery_cameras[places] == query_cameras[row]
        )
        hits = right[row][~junk]
        if not hits.any():
            continue
        found = hits.cumsum()
        last = np.where(hits == 1)[0].max()
        penalties.append(found[last] / (last + 1.0))
        curves.append((found > 0)[:50])
        if whole_columns:
            steps = found / (np.arange(len(found)) + 1.0)
        else:
            steps = np.asarray([x / (i + 1.0) for i, x in enumerate(found)])
        precisions.append((steps * hits).sum() / hits.sum())
    cmc = np.mean(np.asarray(curves, np.float32), axis=0)
    return cmc, float(np.mean(precisions)), float(np.mean(penalties))


def dense_reranking(
    queries: np.ndarray, gallery: np.ndarray, k1: int = 20, k2: int = 6, weight: float = 0.3
) -> np.ndarray:
    """k-reciprocal re-ranking over whole matrices of all images against all."""
    both = np.concatenate([queries, gallery])
    squares = np.maximum(distances(both, both), 0)
    squares = (squares / squares.max(axis=0)).T
    count, number = len(queries), len(both)
    order = np.argsort(squares, axis=1).astype(np.int32)
    vectors = np.zeros_like(squares, dtype=np.float32)
    half = int(np.around(k1 / 2)) + 1
    for image in range(number):
        ahead = order[image, : k1 + 1]
        mutual = ahead[np.where(order[ahead, : k1 + 1] == image)[0]]
        expanded = mutual
        for other in mutual:
            near = order[other, :half]
            close = near[np.where(order[near, :half] == other)[0]]
            if len(np.intersect1d(close, mutual)) > 2 / 3 * len(close):
                expanded = np.append(expanded, close)
        expanded = np.unique(expanded)
        weights = np.exp(-squares[image, expanded])
        vectors[image, expanded] = weights / weights.sum()
    squares = squares[:count]
    if k2 > 1:
        averaged = np.zeros_like(vectors)
        for image in range(number):
            averaged[image] = np.mean(vectors[order[image, :k2]], axis=0)
        vectors = averaged
        del averaged
    del order
    holders = [np.where(vectors[:, image] != 0)[0] for image in range(number)]
    jaccard = np.zeros_like(squares, dtype=np.float32)
    for query in range(count):
        shared = np.zeros(number, np.float32)
        for entry in np.where(vectors[query] != 0)[0]:
            others = holders[entry]
            shared[others] += np.minimum(vectors[query, entry], vectors[others, entry])
        jaccard[query] = 1 - shared / (2 - shared)
    return (jaccard * (1 - weight) + squares * weight)[:, count:]
