"""What the runs of a sweep found: a row for each network, and a table over seeds."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from darkrank_jax.files import write_csv
from darkrank_jax.runs.results import read_results
from darkrank_jax.runs.sweep.jobs import Job
from darkrank_jax.workdir.metrics_log import read_log

METRICS = ("recall_at_1", "map_at_r", "nmi")
_VALIDATION = "validation/"
Row = dict[str, Any]


def collect(jobs: Iterable[Job], metrics: Sequence[str] = METRICS) -> list[Row]:
    """What finished runs found: a row for each network of each run.

    Args:
      jobs: those that are not finished are left out.
      metrics: of results.json, on the test split.

    Returns:
      Rows of "name", "seed", "network", the metrics, and each of them that was measured in
      validation, at the checkpoint that is evaluated, as "validation/METRIC". A teacher that
      several runs share is in each of them.
    """
    rows = []
    for job in jobs:
        if not job.is_done():
            continue
        networks = read_results(job.workdir / "results.json")["networks"]
        for network, found in networks.items():
            row = {"name": job.name, "seed": job.seed, "network": network}
            row |= {metric: found["metrics"][metric] for metric in metrics}
            rows.append(row | _validation(job, network, found, metrics))
    return rows


def table(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    """Mean and standard deviation over seeds, in Markdown, in the order of the rows.

    Args:
      rows: of `collect`; a teacher's that several settings share are counted once.
      metrics: the columns.

    Returns:
      Lines of a table; one seed alone has no deviation.
    """
    groups: dict[tuple[str, str], dict[int, Row]] = {}
    for row in rows:
        groups.setdefault((row["name"], row["network"]), {})[row["seed"]] = row
    lines = [
        "| setting | network | seeds | " + " | ".join(metrics) + " |",
        "|---|---|" + (1 + len(metrics)) * "---|",
    ]
    shown = set()
    for (name, network), by_seed in groups.items():
        columns = [spread([row[metric] for row in by_seed.values()]) for metric in metrics]
        line = f"| {network} | {len(by_seed)} | {' | '.join(columns)} |"
        if network != "teacher" or line not in shown:
            lines.append(f"| {name} {line}")
        shown.add(line)
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Mean and sample standard deviation.

    Example:
      >>> spread([0.25, 0.5])
      '0.375 ± 0.177'
    """
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Writes rows of any fields as CSV."""
    fields = list(dict.fromkeys(field for row in rows for field in row))
    write_csv(path, fields, ([row.get(field, "") for field in fields] for row in rows))


def _validation(job: Job, network: str, found: Mapping[str, Any], metrics: Sequence[str]) -> Row:
    """The scores in validation of a network that this run trained."""
    teacher = job.overrides.get("teacher.checkpoint") or job.workdir / "teacher"
    places = {"teacher": Path(teacher), "baseline": job.workdir / "baseline"}
    scores: Row = {}
    for row in read_log(places.get(network, job.workdir)):
        if row["step"] == found.get("best_step"):
            scores |= row
    wanted = [_VALIDATION + metric for metric in metrics]
    return {metric: scores[metric] for metric in wanted if metric in scores}
