"""results.json: what each network of a run is worth on classes that none was trained on."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from darkrank_jax.data import Split
from darkrank_jax.evaluation.clustering import clustering_metrics
from darkrank_jax.evaluation.embed import images_per_second
from darkrank_jax.evaluation.retrieval import retrieval_metrics
from darkrank_jax.training.network import Embedder, embed, embed_fn

METRICS = ("recall_at_1", "recall_at_2", "recall_at_4", "recall_at_8", "map_at_r", "nmi")
SCHEMA = 1


def measure(
    networks: Mapping[str, Embedder], split: Split, mesh: Mesh
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Embeds a split with each network and measures quality, size and speed.

    Args:
      networks: by the part each plays: "teacher", "baseline", or a student's name.
      split: of classes unseen in training.
      mesh: the devices.

    Returns:
      The entries of results.json's "networks", and the embeddings, both by name.
    """
    rows, embeddings = {}, {}
    for name, network in networks.items():
        embeddings[name] = embed(network, split, mesh)
        scores = retrieval_metrics(embeddings[name], split.labels)
        scores |= clustering_metrics(embeddings[name], split.labels, key=jax.random.key(0))
        rows[name] = {
            "model": network.run.model,
            "losses": network.run.losses,
            "parameters": network.num_parameters(),
            "images_per_second": images_per_second(embed_fn(network, mesh), split.images),
            "training_seconds": network.seconds,
            "steps": network.run.steps,
            "best_step": network.step,
            "metrics": {metric: scores[metric] for metric in METRICS},
        }
    for name in rows.keys() - {"teacher", "baseline"}:
        if "teacher" in rows and "baseline" in rows:
            rows[name]["gap_recovered"] = gap_recovered(
                *(rows[each]["metrics"] for each in ("teacher", "baseline", name))
            )
    return rows, embeddings


def gap_recovered(
    teacher: Mapping[str, float], baseline: Mapping[str, float], student: Mapping[str, float]
) -> dict[str, float | None]:
    """How much of the teacher's lead over the baseline a student wins back, by metric.

    (student - baseline) / (teacher - baseline): 0 as the baseline, 1 as the teacher, below 0 worse
    than the baseline. None where the teacher does not lead, since there is no gap.

    Args:
      teacher: metrics of the teacher.
      baseline: metrics of the student's architecture trained alone.
      student: metrics of the distilled student.

    Returns:
      A share for each metric.

    Example:
      >>> gap_recovered({"nmi": 0.75}, {"nmi": 0.25}, {"nmi": 0.375})
      {'nmi': 0.25}
    """
    gaps = {metric: teacher[metric] - baseline[metric] for metric in student}
    return {
        metric: (student[metric] - baseline[metric]) / gap if gap > 0 else None
        for metric, gap in gaps.items()
    }


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Writes results.json whole or not at all."""
    text = json.dumps(results, indent=1) + "\n"
    beside = path.with_suffix(".json.part")
    beside.write_text(text)
    os.replace(beside, path)


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The results as a table for a terminal.

    Args:
      rows: the "networks" of results.json.

    Returns:
      Lines of equal columns.
    """
    measures = ["R@1", "R@2", "R@4", "R@8", "MAP@R", "NMI", "gap recovered"]
    heads = ["", "parameters", "images/s", *measures]
    lines = [heads]
    for name, row in rows.items():
        gap = row.get("gap_recovered", {}).get("recall_at_1")
        lines.append(
            [
                name,
                f"{row['parameters']:,}",
                f"{row['images_per_second']:,.0f}",
                *(f"{row['metrics'][metric]:.3f}" for metric in METRICS),
                "" if gap is None else f"{gap:.0%}",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    )
