"""Clustering of embeddings by k-means, and how well it agrees with the classes."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.inputs import check_classes, check_lengths, prepare
from darkrank_jax.evaluation.kmeans import kmeans


def clustering_metrics(
    embeddings: Float[np.ndarray, "n dim"] | Float[Array, "n dim"],
    labels: Int[np.ndarray, " _"],
    *,
    key: PRNGKeyArray,
) -> dict[str, float]:
    """Clusters embeddings into as many groups as there are classes and compares.

    Args:
      embeddings: [n, dim], finite.
      labels: int [n].
      key: of k-means's first centres.

    Returns:
      The figures of `grouping_metrics`.

    Raises:
      UserError: no embeddings, embeddings that are not finite, labels of another length, or all of
        one class, which every clustering finds.

    Example:
      >>> embeddings = np.array([[0.0], [0.1], [5.0], [5.2]], np.float32)
      >>> found = clustering_metrics(embeddings, np.array([3, 3, 7, 7]), key=jax.random.key(0))
      >>> found["nmi"], found["purity"]
      (1.0, 1.0)
    """
    embeddings, labels = prepare(embeddings, labels)
    check_classes(labels)
    # The key of the first start, as figures were made when there could be several.
    (first,) = jax.random.split(key, 1)
    clusters, _ = kmeans(jnp.asarray(embeddings), num_clusters=int(labels.max()) + 1, key=first)
    return grouping_metrics(np.asarray(clusters), labels)


def grouping_metrics(
    clusters: Int[np.ndarray, " _"], labels: Int[np.ndarray, " _"]
) -> dict[str, float]:
    """How well a given clustering agrees with the classes.

    Args:
      clusters: int [n], any numbers.
      labels: int [n], any numbers.

    Returns:
      {"nmi": ..., "ami": ..., "ari": ..., "pairwise_f1": ..., "purity": ...}.

    Raises:
      UserError: there is nothing to compare, or as many clusters as labels are not given.

    Example:
      >>> found = grouping_metrics(np.array([0, 0, 0, 1]), np.array([5, 5, 9, 9]))
      >>> found["pairwise_f1"], found["purity"]
      (0.4, 0.75)
    """
    check_lengths(len(labels), "labels", clusters=clusters)
    if not len(labels):
        raise UserError("labels: must have at least one row (got none)")
    return {
        "nmi": normalized_mutual_information(clusters, labels),
        "ami": adjusted_mutual_information(clusters, labels),
        "ari": adjusted_rand_index(clusters, labels),
        "pairwise_f1": pairwise_f1(clusters, labels),
        "purity": purity(clusters, labels),
    }


def normalized_mutual_information(
    clusters: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"]
) -> float:
    """Mutual information of two groupings over the mean of their entropies.

    NMI = 2 I(clusters; labels) / (H(clusters) + H(labels)); 1 where both groupings are one group.

    Args:
      clusters: int [n].
      labels: int [n].

    Returns:
      0 (independent) to 1 (the same up to names).

    Example:
      >>> round(normalized_mutual_information(np.array([0, 0, 1, 1]), np.array([5, 5, 5, 9])), 4)
      0.3437

    Source: Strehl and Ghosh, JMLR 2002, with the arithmetic mean, as scikit-learn has it.
    """
    information, mean_entropy = _information(*_sizes(clusters, labels))
    return information / mean_entropy if mean_entropy > 0 else 1.0


def adjusted_mutual_information(
    clusters: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"]
) -> float:
    """Mutual information of two groupings, less what groups of their sizes share by chance.

    AMI = (I - E[I]) / ((H(clusters) + H(labels)) / 2 - E[I]), the expectation over all groupings
    with the same group sizes. Many small clusters raise NMI by themselves; they do not raise AMI.

    Args:
      clusters: int [n].
      labels: int [n].

    Returns:
      1 (the same up to names), around 0 by chance, below 0 for less than chance.

    Example:
      >>> groups = np.array([0, 0, 1, 1])
      >>> round(adjusted_mutual_information(groups, np.array([5, 5, 5, 9])), 4)
      0.0
      >>> round(adjusted_mutual_information(groups, 1 - groups), 4)
      1.0

    Source: Vinh, Epps, Bailey, JMLR 2010, eq. 24a for the expectation, with the arithmetic mean.
    """
    rows, columns, cells = _sizes(clusters, labels)
    information, mean_entropy = _information(rows, columns, cells)
    expected = _expected_information(rows, columns)
    rounding = 1e-12 * mean_entropy
    if mean_entropy - expected <= rounding:
        # All groupings with these sizes are the same one.
        return 1.0
    adjusted = information - expected
    return adjusted / (mean_entropy - expected) if abs(adjusted) > rounding else 0.0


def adjusted_rand_index(clusters: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> float:
    """Pairs together in both groupings, less what groups of their sizes share by chance.

    With A and B the pairs together in clusters and in labels, of all N pairs:
    ARI = (pairs together in both - A B / N) / ((A + B) / 2 - A B / N); 1 where every grouping with
    these sizes is the same.

    Args:
      clusters: int [n].
      labels: int [n].

    Returns:
      1 (the same up to names), around 0 by chance, below 0 for less than chance.

    Example:
      >>> round(adjusted_rand_index(np.array([0, 0, 0, 1]), np.array([5, 5, 9, 9])), 4)
      0.0

    Source: Hubert and Arabie, Journal of Classification, 1985.
    """
    rows, columns, cells = (_pairs(sizes) for sizes in _sizes(clusters, labels))
    chance = rows * columns / max(_pairs(np.array([len(labels)])), 1)
    most = (rows + columns) / 2
    return (cells - chance) / (most - chance) if most > chance else 1.0


def purity(clusters: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> float:
    """Share of images that are of the class most common in their cluster.

    Args:
      clusters: int [n].
      labels: int [n].

    Returns:
      1 / n to 1; more clusters raise it by themselves.

    Example:
      >>> purity(np.array([0, 0, 0, 1, 1]), np.array([5, 5, 9, 9, 9]))
      0.8

    Source: Manning, Raghavan, Schuetze, Introduction to Information Retrieval, section 16.3.
    """
    pairs, counts = np.unique(np.stack([clusters, labels]), axis=1, return_counts=True)
    starts = np.flatnonzero(np.append(True, pairs[0, 1:] != pairs[0, :-1]))
    return float(np.maximum.reduceat(counts, starts).sum() / len(labels))


def pairwise_f1(clusters: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> float:
    """F1 of the statement "these two belong together", over all pairs.

    F1 = 2 * pairs together in both / (pairs together in clusters + pairs together in labels);
    1 where neither grouping has any pair.

    Args:
      clusters: int [n].
      labels: int [n].

    Returns:
      0 to 1.

    Example:
      >>> pairwise_f1(np.array([0, 0, 0, 1]), np.array([5, 5, 9, 9]))
      0.4

    Source: Manning, Raghavan, Schuetze, Introduction to Information Retrieval, section 16.3.
    """
    rows, columns, cells = (_pairs(sizes) for sizes in _sizes(clusters, labels))
    return 2 * cells / (rows + columns) if rows + columns else 1.0


def _sizes(clusters: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sizes of the clusters, of the classes, and of what each two share, without the empty ones."""
    clusters = np.unique(clusters, return_inverse=True)[1]
    labels = np.unique(labels, return_inverse=True)[1]
    shared = clusters.astype(np.int64) * (labels.max() + 1) + labels
    rows, columns, cells = (
        np.unique(group, return_counts=True)[1] for group in (clusters, labels, shared)
    )
    return rows, columns, cells


def _pairs(sizes: np.ndarray) -> float:
    """Number of pairs within groups of these sizes."""
    return float(np.sum(sizes * (sizes - 1) // 2))


def _information(rows: np.ndarray, columns: np.ndarray, cells: np.ndarray) -> tuple[float, float]:
    """Mutual information, and the mean of both entropies, in nats."""
    both = _entropy(rows) + _entropy(columns)
    return max(both - _entropy(cells), 0.0), both / 2


def _entropy(sizes: np.ndarray) -> float:
    """Entropy of the group sizes, in nats."""
    shares = sizes / sizes.sum()
    return float(-np.sum(shares * np.log(shares)))


def _expected_information(rows: np.ndarray, columns: np.ndarray) -> float:
    """Mean of the mutual information over all groupings with these group sizes."""
    n = int(rows.sum())
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    total = 0.0
    # Groups of the same sizes share by the same distribution, so each two sizes are met only once.
    for a, row_count in zip(*np.unique(rows, return_counts=True), strict=True):
        for b, column_count in zip(*np.unique(columns, return_counts=True), strict=True):
            shared = np.arange(max(1, a + b - n), min(a, b) + 1)
            outside = (shared, a - shared, b - shared, n - a - b + shared)
            log_chance = log_factorial[[a, b, n - a, n - b]].sum() - log_factorial[n]
            log_chance = log_chance - log_factorial[np.stack(outside)].sum(axis=0)
            terms = np.exp(log_chance) * shared / n * np.log(n * shared / (a * b))
            total += row_count * column_count * terms.sum()
    return float(total)
