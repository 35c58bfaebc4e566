"""results.json: what each network of a run is worth on classes that none was trained on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from darkrank_jax.config.names import check_file_name
from darkrank_jax.data import Images
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.agreement import cross_recall, rank_agreement
from darkrank_jax.evaluation.clustering import clustering_metrics
from darkrank_jax.evaluation.embed import images_per_second
from darkrank_jax.evaluation.intervals import bootstrap_interval, paired_difference
from darkrank_jax.evaluation.protocols import COUNTS, PROTOCOLS, Embedded, across_cameras
from darkrank_jax.evaluation.report.formatting import metric_name, protocol_title
from darkrank_jax.evaluation.retrieval import retrieval_values
from darkrank_jax.files import read_json, write_text
from darkrank_jax.schema import check_schema
from darkrank_jax.terminal import aligned
from darkrank_jax.training.network import Embedder, embed_fn

SCHEMA = 2
# Metrics that are means over queries, so that they have an interval.
OF_QUERIES = (
    "recall_at_1",
    "recall_at_2",
    "recall_at_4",
    "recall_at_8",
    "map_at_r",
    "r_precision",
    "mean_average_precision",
    "mean_reciprocal_rank",
    "ndcg",
)
METRICS = (*OF_QUERIES, "nmi", "ami", "ari", "pairwise_f1", "purity")
# The metrics of the table on the terminal, and what it calls them.
_TABLE = {
    "recall_at_1": "R@1",
    "recall_at_2": "R@2",
    "recall_at_4": "R@4",
    "recall_at_8": "R@8",
    "map_at_r": "MAP@R",
    "nmi": "NMI",
}
_HEADS = ["", "parameters", "images/s", *_TABLE.values(), "gap recovered in R@1"]
# The K of the recall curve, about equally far apart in ratio, and of the agreement with a teacher.
_CURVE = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 63, 80, 100)
_AGREEMENT = (1, 2, 5, 10, 20, 50)
# The parts that come first, in this order; others follow as they are given.
_FIRST = ("teacher", "baseline", "student")

# What of results.json is read back; the rest is for its user.
_DATASET = {
    "name": str,
    "source": str,
    "split": str,
    "images": int,
    "classes": int,
    "queries": int,
    "digest?": (str, None),
    "distractors?": {"source": str, "images": int, "digest": str},
}
_NETWORK = {
    "metrics": dict.fromkeys(METRICS, float),
    "intervals?": {str: [float]},
    "recall_curve?": [[float]],
    "gap_recovered?": {str: (float, None)},
    "difference?": {str: dict},
    "agreement?": dict,
    "reid?": {str: float},
    "protocols?": {str: {str: float}},
    "model?": {"name": str},
    "losses?": {str: dict},
    "parameters?": int,
    "images_per_second?": float,
    "training_seconds?": float,
    "steps?": int,
    "best_step?": int,
}
_SCHEMA = {
    "schema": int,
    "name": str,
    "seed": int,
    "devices": str,
    "dataset": _DATASET,
    "networks": {str: _NETWORK},
    "further_datasets?": {str: {"dataset": _DATASET, "networks": {str: _NETWORK}}},
}

Values = dict[str, dict[str, np.ndarray]]


def costs(network: Embedder, images: Images, mesh: Mesh) -> dict[str, Any]:
    """What a network is and what it takes.

    Args:
      network: of a finished run.
      images: to time it on.
      mesh: the devices.

    Returns:
      The fields of results.json that do not depend on the dataset.
    """
    return {
        "model": network.run.model,
        "losses": network.run.losses,
        "parameters": network.num_parameters(),
        "images_per_second": images_per_second(embed_fn(network, mesh), images),
        "training_seconds": network.seconds,
        "steps": network.run.steps,
        "best_step": network.step,
    }


def measure(
    embeddings: Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    seed: int,
    cameras: np.ndarray | None = None,
    queries: np.ndarray | None = None,
    protocols: Mapping[str, Mapping[str, Any]] | None = None,
    distractors: Mapping[str, np.ndarray] | None = None,
) -> tuple[dict[str, dict[str, Any]], Values]:
    """Measures the quality of each network's embeddings of one set of images.

    Args:
      embeddings: by the part each network plays: "teacher", "baseline", or any other name for a
        student.
      labels: int [n], of the images.
      seed: of the draws behind intervals and p-values.
      cameras: int [n], which camera saw each image, -1 where that is unknown; with them,
        re-identification is measured too.
      queries: bool [n], which search, and the others are the gallery; None: each searches all
        others.
      protocols: options by name in PROTOCOLS.
      distractors: each network's embeddings of further images of the gallery, which are never
        right: of re-identification and of the protocols that search.

    Returns:
      The fields of results.json that depend on the dataset, and the values of `retrieval_values`,
      both by network: teacher, baseline, student, and the others as they are given.

    Raises:
      UserError: from a metric; the line begins with the network's name.
    """
    rows, values = {}, {}
    ordered = {n: embeddings[n] for n in (*_FIRST, *embeddings) if n in embeddings}
    for name, array in ordered.items():
        try:
            values[name] = values_of(array, labels, queries, ks=_CURVE)
            rows[name] = _quality(array, labels, values[name], seed)
            further = distractors[name] if distractors else None
            images = Embedded(array, labels, cameras, queries, further)
            if cameras is not None or further is not None:
                rows[name]["reid"] = across_cameras(images)
            if protocols:
                rows[name]["protocols"] = {
                    each: PROTOCOLS[each](images, **options) for each, options in protocols.items()
                }
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
    for name in embeddings.keys() - {"teacher"}:
        if "teacher" in embeddings:
            rows[name] |= _against_teacher(embeddings[name], embeddings["teacher"], labels)
    for name in rows.keys() - {"teacher", "baseline"}:
        if "baseline" in rows:
            rows[name]["difference"] = differences(values[name], values["baseline"], seed)
        if "teacher" in rows and "baseline" in rows:
            rows[name]["gap_recovered"] = gap_recovered(
                *(rows[each]["metrics"] for each in ("teacher", "baseline", name))
            )
    return rows, values


def values_of(
    embeddings: np.ndarray, labels: np.ndarray, queries: np.ndarray | None, *, ks: Sequence[int]
) -> dict[str, np.ndarray]:
    """The values of `retrieval_values`, one an image; NaN for what is no query.

    Args:
      embeddings: [n, dim].
      labels: int [n].
      queries: bool [n], which search, and the others are the gallery; None: each searches all
        others.
      ks: the K of Recall@K.

    Returns:
      [n] by metric.

    Raises:
      UserError: what `retrieval_values` refuses.

    Example:
      >>> points, queries = np.array([[0.0], [3.0], [1.0]]), np.array([True, False, False])
      >>> values_of(points, np.array([4, 4, 5]), queries, ks=(1, 2))["recall_at_2"].tolist()
      [1.0, nan, nan]
    """
    if queries is None:
        return retrieval_values(embeddings, labels, ks=ks)
    found = retrieval_values(
        embeddings[queries],
        labels[queries],
        ks=ks,
        gallery=embeddings[~queries],
        gallery_labels=labels[~queries],
    )
    values = {name: np.full(len(labels), np.nan) for name in found}
    for name, column in found.items():
        values[name][queries] = column
    return values


def differences(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], seed: int
) -> dict[str, dict[str, float]]:
    """The paired difference of two networks in every metric that is a mean over queries."""
    return {
        metric: paired_difference(first[metric], second[metric], seed=seed) for metric in OF_QUERIES
    }


def _quality(
    embeddings: np.ndarray, labels: np.ndarray, values: dict[str, np.ndarray], seed: int
) -> dict[str, Any]:
    """Metrics, their intervals and the recall curve of one network."""
    scores = {metric: float(np.nanmean(values[metric])) for metric in OF_QUERIES}
    scores |= clustering_metrics(embeddings, labels, key=jax.random.key(0))
    shown = [k for k in _CURVE if k < len(labels)]
    return {
        "metrics": {metric: scores[metric] for metric in METRICS},
        "intervals": {
            metric: list(bootstrap_interval(values[metric], seed=seed)) for metric in OF_QUERIES
        },
        "recall_curve": [[k, float(np.nanmean(values[f"recall_at_{k}"]))] for k in shown],
    }


def _against_teacher(
    embeddings: np.ndarray, teacher: np.ndarray, labels: np.ndarray
) -> dict[str, Any]:
    """How far a network ranks as the teacher does, and finds in what the teacher embedded."""
    row: dict[str, Any] = {"agreement": rank_agreement(embeddings, teacher, ks=_AGREEMENT)}
    if embeddings.shape == teacher.shape:
        row["teacher_gallery"] = cross_recall(embeddings, teacher, labels)
    return row


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
    write_text(path, json.dumps(results, indent=1) + "\n")


def read_results(path: Path) -> dict[str, Any]:
    """The results that an evaluation has written.

    Args:
      path: of results.json.

    Raises:
      UserError: the file is missing, damaged, altered, or of another version.
    """
    advice = "delete it, and write it again with --mode eval"
    results = read_json(path, advice)
    check_schema(results, {"schema": int}, path, advice)
    if results["schema"] != SCHEMA:
        raise UserError(
            f"{path}: schema must be {SCHEMA} (got {results['schema']}), since another version "
            f"wrote it; {advice}"
        )
    check_schema(results, _SCHEMA, path, advice)
    further = results.get("further_datasets", {})
    try:
        # Files of embeddings are looked for by these names.
        for each in (results, *further.values()):
            check_file_name(each["dataset"]["name"], "dataset.name")
            for network in each["networks"]:
                check_file_name(network, "networks")
        for dataset in further:
            check_file_name(dataset, "further_datasets")
    except UserError as error:
        raise UserError(f"{path}: {error}; {advice}") from error
    return results


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The results as tables for a terminal: the main one, then one for each further protocol.

    Args:
      rows: the "networks" of results.json.

    Returns:
      Lines of equal columns.
    """
    lines = [_line(name, row) for name, row in rows.items()]
    return "\n\n".join([aligned([_HEADS, *lines], numbers=True), *protocol_tables(rows)])


def protocol_tables(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A table for a terminal of each further protocol, first of that across cameras.

    Args:
      rows: networks by name, each with "reid" or "protocols" where it was measured so.

    Returns:
      Tables of equal columns.
    """
    tables = []
    reid = {name: {"across cameras": row["reid"]} for name, row in rows.items() if "reid" in row}
    further = {name: reid.get(name, {}) | row.get("protocols", {}) for name, row in rows.items()}
    for protocol in dict.fromkeys(each for found in further.values() for each in found):
        measured = {name: found[protocol] for name, found in further.items() if protocol in found}
        first = next(iter(measured.values()))
        metrics = [metric for metric in first if metric not in COUNTS]
        lines = [
            [name, *(f"{found[m]:.3f}" if m in found else "" for m in metrics)]
            for name, found in measured.items()
        ]
        heads = [protocol_title(protocol, first), *map(metric_name, metrics)]
        tables.append(aligned([heads, *lines], numbers=True))
    return tables


def _line(name: str, row: Mapping[str, Any]) -> list[str]:
    """A network's line of the main table."""
    gap = row.get("gap_recovered", {}).get("recall_at_1")
    return [
        name,
        f"{row['parameters']:,}" if "parameters" in row else "",
        f"{row['images_per_second']:,.0f}" if "images_per_second" in row else "",
        *(f"{row['metrics'][metric]:.3f}" for metric in _TABLE),
        "" if gap is None else f"{gap:.0%}",
    ]
