"""Verification: whether two images are of one class, by how alike their embeddings are."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.inputs import check_lengths


def verification_metrics(
    similarities: Float[np.ndarray, " _"],
    same: Bool[np.ndarray, " _"],
    *,
    false_accept_rates: Sequence[float] = (1e-3, 1e-2, 1e-1),
) -> dict[str, float]:
    """Area under the ROC curve, equal error rate, and true accepts at given false accepts.

    A pair is accepted if its similarity is at least a threshold. TAR = share of the pairs of one
    class that are accepted, FAR = share of the others that are. ROC AUC = area under TAR over FAR,
    which is the chance that a pair of one class is more alike than another pair, ties counted half;
    EER = FAR where it equals 1 - TAR, on the line between two thresholds; TAR at FAR f = the
    largest TAR of the thresholds whose FAR is at most f.

    Args:
      similarities: [n], finite, such as cosines, or distances times -1.
      same: bool [n], pairs of one class.
      false_accept_rates: the f, from 0 to 1.

    Returns:
      "roc_auc", "equal_error_rate", and "tar_at_far_f" for each f.

    Raises:
      UserError: similarities that are not finite or not as many as `same`, no pair of one class or
        none of two, an f out of its range.

    Example:
      >>> similarities = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
      >>> same = np.array([True, False, True, True, False])
      >>> found = verification_metrics(similarities, same, false_accept_rates=(0.1, 0.5))
      >>> {name: round(value, 4) for name, value in found.items()}
      {'roc_auc': 0.6667, 'equal_error_rate': 0.5, 'tar_at_far_0.1': 0.3333, 'tar_at_far_0.5': 1.0}

    Source: Fawcett, An introduction to ROC analysis, Pattern Recognition Letters, 2006.
    """
    _check(similarities, same, false_accept_rates)
    false_accepts, true_accepts = _curve(np.asarray(similarities), np.asarray(same))
    # From -1, where nothing is accepted, to 1, where all is.
    gaps = false_accepts + true_accepts - 1
    after = int(np.argmax(gaps >= 0))
    share = gaps[after - 1] / (gaps[after - 1] - gaps[after])
    equal = false_accepts[after - 1] + share * (false_accepts[after] - false_accepts[after - 1])
    steps, heights = np.diff(false_accepts), (true_accepts[1:] + true_accepts[:-1]) / 2
    return {"roc_auc": float(np.sum(steps * heights)), "equal_error_rate": float(equal)} | {
        f"tar_at_far_{rate:g}": float(true_accepts[false_accepts <= rate].max())
        for rate in false_accept_rates
    }


def _check(similarities: np.ndarray, same: np.ndarray, rates: Sequence[float]) -> None:
    """Refuses what has no ROC curve."""
    check_lengths(np.size(similarities), "pairs", similarities=similarities, same=same)
    bad = np.flatnonzero(~np.isfinite(similarities))
    if bad.size:
        raise UserError(
            f"similarities: {bad.size} of {len(same)} are NaN or infinity, first {bad[0]}; leave "
            "them out, or see what makes the network diverge"
        )
    if np.all(same) or not np.any(same):
        raise UserError(
            f"same: {np.sum(same)} of {len(same)} pairs are of one class; give both kinds"
        )
    for rate in rates:
        if not 0 <= rate <= 1:
            raise UserError(f"false_accept_rates: must be shares, 0 to 1 (got {rate})")


def _curve(similarities: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """FAR and TAR at each threshold, from where nothing is accepted to where all is."""
    order = np.argsort(-similarities, kind="stable")
    ranked, hits = similarities[order], np.cumsum(same[order])
    # Pairs that are as alike as each other are accepted together.
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    accepted, true = np.append(0, last + 1), np.append(0, hits[last])
    return (accepted - true) / (len(same) - hits[-1]), true / hits[-1]
