"""Tables of experiments, in Markdown and as CSV files."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from darkrank_jax.files import write_text
from darkrank_jax.terminal import csv_cell

Row = dict[str, Any]


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


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Writes a table, whole or not at all; a spreadsheet runs none of its cells.

    Args:
      path: of the file; its folder is made.
      columns: their names, the first line.
      rows: of as many values each.

    Raises:
      UserError: the file cannot be written; the earlier one is still there.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in (columns, *rows):
        writer.writerow(map(csv_cell, row))
    write_text(path, text.getvalue())
