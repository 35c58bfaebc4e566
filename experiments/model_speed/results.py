"""The file of results and its table."""

import csv
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from darkrank_jax.runs.sweep.seed_table import write_rows

Row = dict[str, Any]
# Columns that are not text.
_NUMBERS = {
    "batch": int, "pixels": int, "rounds": int, "parameters": int,
    "min_ms": float, "median_ms": float, "times_ours": float, "peak_mb": float,
}  # fmt: skip
_HEADS = {"eager": "PyTorch eager", "compiled": "compiled"}


def read(path: Path) -> list[Row]:
    """The rows of a file of results; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {name: _NUMBERS.get(name, str)(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        ]


def write(path: Path, rows: Sequence[Row]) -> None:
    """Writes rows in the order of their networks."""
    write_rows(path, sorted(rows, key=lambda row: row["network"]))


def table(rows: Iterable[Row], pass_: str) -> str:
    """Times of a pass, how many times as long PyTorch takes, and memory, in Markdown.

    Args:
      rows: of one setting.
      pass_: "forward" or "step".

    Returns:
      Lines; the last has geometric means and how many networks are behind PyTorch.
    """
    lines = [
        "| network | ours, ms | PyTorch eager | compiled | eager / ours | compiled / ours | "
        "ours, MB | eager | compiled |",
        "|---|" + 8 * "---|",
    ]
    ratios: dict[str, list[float]] = {engine: [] for engine in _HEADS}
    chosen = (row for row in rows if row["pass"] == pass_)
    for network, group in itertools.groupby(chosen, lambda row: row["network"]):
        by_engine = {row["engine"]: row for row in group}
        cells = [
            [f"{by_engine[engine][column]:{form}}" if engine in by_engine else "no peer"
             for engine in engines]
            for column, form, engines in (
                ("median_ms", ",.1f", ("ours", *_HEADS)),
                ("times_ours", ".2f", tuple(_HEADS)),
                ("peak_mb", ",.0f", ("ours", *_HEADS)),
            )
        ]  # fmt: skip
        lines.append(f"| {network} | {' | '.join(itertools.chain(*cells))} |")
        for engine in _HEADS.keys() & by_engine.keys():
            ratios[engine].append(by_engine[engine]["times_ours"])
    means = [f"{np.exp(np.mean(np.log(of))):.2f}" for of in ratios.values() if of]
    behind = [f"{np.sum(np.less(of, 1.0))} below 1" for of in ratios.values() if of]
    cells = [f"{mean} ({count})" for mean, count in zip(means, behind, strict=True)]
    return "\n".join([*lines, f"| geometric mean | | | | {' | '.join(cells)} | | | |"])
