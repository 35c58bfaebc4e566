"""Deviation of an export from its model: embeddings, Recall@1 and time."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from darkrank_jax.evaluation.retrieval import retrieval_metrics
from darkrank_jax.export.source import EmbedBatch

# Of an exact format: largest difference of a number, as a share of the longest embedding.
DIFFERENCE = 1e-4
# Of an int8 format: mean cosine with the model's embeddings, and loss of Recall@1.
COSINE, RECALL = 0.98, 0.01
# Images at once for throughput, and repetitions of which the median counts.
BATCH, _REPETITIONS = 64, 5


def measure_export(
    embed: EmbedBatch,
    images: np.ndarray,
    labels: np.ndarray | None,
    expected: np.ndarray | None = None,
) -> tuple[np.ndarray, dict[str, float]]:
    """Embeds held images and measures.

    Args:
      embed: uint8 images to embeddings.
      images: uint8 [n, h, w, c], not trained on.
      labels: int [n]; None: not known, and Recall@1 is NaN.
      expected: the model's embeddings of them; None: these are the model's.

    Returns:
      The embeddings, and "recall_at_1", "milliseconds" (of one image) and "images_per_second" (at
      batches of 64); with `expected` also "max_difference" (relative to the longest embedding),
      "mean_cosine" and "min_cosine".
    """
    parts = [embed(images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
    found = np.concatenate(parts).astype(np.float32)
    batch = images[np.arange(BATCH) % len(images)]
    measured = {
        "recall_at_1": float("nan")
        if labels is None
        else retrieval_metrics(found, labels)["recall_at_1"],
        "milliseconds": 1e3 * _seconds(embed, images[:1]),
        "images_per_second": BATCH / _seconds(embed, batch),
    }
    if expected is not None:
        measured |= nearness(found, expected)
    return found, measured


def nearness(found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """How near embeddings are to those they should be.

    Args:
      found: [n, dim].
      expected: [n, dim].

    Returns:
      "max_difference", relative to the longest of the expected; "mean_cosine" and "min_cosine".

    Example:
      >>> near = nearness(np.array([[3.0, 4.0]]), np.array([[4.0, 3.0]]))
      >>> {name: round(value, 2) for name, value in near.items()}
      {'max_difference': 0.2, 'mean_cosine': 0.96, 'min_cosine': 0.96}
    """
    lengths = [np.maximum(np.linalg.norm(x, axis=1), 1e-12) for x in (found, expected)]
    cosines = np.sum(found * expected, axis=1) / (lengths[0] * lengths[1])
    return {
        "max_difference": float(np.abs(found - expected).max() / lengths[1].max()),
        "mean_cosine": float(cosines.mean()),
        "min_cosine": float(cosines.min()),
    }


def fault(measured: Mapping[str, Any], recall_of_model: float, *, exact: bool) -> str:
    """What is beyond the tolerance, or nothing.

    Args:
      measured: by `compare`.
      recall_of_model: Recall@1 of the model on the same images.
      exact: of the format.

    Returns:
      Half a sentence; empty where all is well.

    Example:
      >>> fault({"max_difference": 0.03}, 0.5, exact=True)
      'differs from the model by 0.03 of an embedding, more than 0.0001'
    """
    if exact:
        # Not `>`: what is not a number is no small difference.
        if not measured["max_difference"] <= DIFFERENCE:
            return (
                f"differs from the model by {measured['max_difference']:.2g} of an embedding, "
                f"more than {DIFFERENCE:g}"
            )
        return ""
    if not measured["mean_cosine"] >= COSINE:
        return f"has a mean cosine of {measured['mean_cosine']:.3f} with the model, under {COSINE}"
    loss = recall_of_model - measured["recall_at_1"]
    return f"loses {loss:.3f} of Recall@1, more than {RECALL}" if loss > RECALL else ""


def _seconds(embed: EmbedBatch, images: np.ndarray) -> float:
    """The median time of a call, once warm."""
    embed(images)
    seconds = []
    for _ in range(_REPETITIONS):
        start = time.perf_counter()
        embed(images)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))
