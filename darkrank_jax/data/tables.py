"""A table of images: a line for each, with its path and label, from CSV, TSV or Parquet."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from darkrank_jax.data.listing import Line
from darkrank_jax.errors import UserError

_REQUIRED, _OPTIONAL = ("path", "label"), ("split", "camera")
_BATCH = 1 << 14


def read_table(path: Path) -> Iterator[Line]:
    """The lines of a table, one after the other.

    Args:
      path: .csv (commas), .tsv (tabs), both UTF-8 with a line of names, or .parquet. Columns
        `path` (of the image) and `label`, and where there are `split` and `camera`.

    Yields:
      The lines in their order.

    Raises:
      UserError: the table is missing or damaged, lacks a column, or a line lacks a value.
    """
    if not path.is_file():
        raise UserError(f"{path}: is missing; give the table as data.path")
    row = 0
    for row, values in enumerate(READERS[path.suffix.lower()](path), start=1):
        for column, value in values.items():
            if not value and column != "camera":
                raise UserError(f"{path}: row {row} has no {column}; fill it in or delete the row")
        yield Line(*(values.get(column, "") for column in (*_REQUIRED, *_OPTIONAL)))
    if not row:
        raise UserError(f"{path}: has no rows; give a table with a row for each image")


def _read_text(path: Path, delimiter: str) -> Iterator[dict[str, str]]:
    """Rows of a text file; a mark of the byte order is skipped."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter)
            columns = _columns(path, list(reader.fieldnames or []))
            for row in reader:
                yield {column: (row[column] or "").strip() for column in columns}
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no UTF-8 text ({error}); save it as UTF-8") from error
    except csv.Error as error:
        raise UserError(f"{path}: is no table ({error}); save it as CSV or TSV") from error


def _read_parquet(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a Parquet file, in batches."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError(
            f"{path}: Parquet needs pyarrow; run `pip install pyarrow`, or save it as CSV"
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            columns = _columns(path, file.schema_arrow.names)
            for batch in file.iter_batches(_BATCH, columns=columns):
                for row in batch.to_pylist():
                    yield {column: _text(row[column]) for column in columns}
    except (ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: is no whole Parquet file ({reason}); save it anew") from error


def _text(value: Any) -> str:
    """A cell as text; an empty one is none."""
    return "" if value is None else str(value).strip()


def _columns(path: Path, found: list[str]) -> list[str]:
    """Those that count; refuses a table without one of the required."""
    for column in _REQUIRED:
        if column not in found:
            names = ", ".join(found) or "none"
            raise UserError(
                f"{path}: has no column {column!r}; its columns are {names}; rename one of them"
            )
    return [column for column in (*_REQUIRED, *_OPTIONAL) if column in found]


# Suffix of a table -> its rows, with text in each of the columns that count.
READERS: dict[str, Callable[[Path], Iterator[dict[str, str]]]] = {
    ".csv": lambda path: _read_text(path, ","),
    ".tsv": lambda path: _read_text(path, "\t"),
    ".parquet": _read_parquet,
}
