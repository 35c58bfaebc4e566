"""A table of images: a row for each, with its path and label, from CSV, TSV or Parquet."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from darkrank_jax.data.files.listing import Line
from darkrank_jax.data.files.parquet_tables import read_parquet
from darkrank_jax.data.files.parts import PARTS, part_of
from darkrank_jax.data.files.text_tables import read_text, separator_hint
from darkrank_jax.data.pixels.pictures import SUFFIXES
from darkrank_jax.errors import UserError, nearest
from darkrank_jax.terminal import printable

_REQUIRED, _OPTIONAL = ("path", "label"), ("split", "camera")
# What programs write for a value that is missing; "none" and "na" may be words.
_MISSING = {"nan", "NaN", "NAN", "NA", "<NA>", "N/A", "#N/A", "NaT", "null", "NULL", "None"}
_FLAGS = {"0", "1", "true", "false", "yes", "no", "t", "f", "y", "n"}
_SEPARATORS = {".csv": ",", ".tsv": "\t"}


def read_table(path: Path) -> Iterator[Line]:
    """The lines of a table, one after the other.

    Args:
      path: .csv (commas), .tsv (tabs), both UTF-8 with a line of names, or .parquet. Columns
        `path` (of the image) and `label`, and where there are `split` and `camera`, in any case.

    Returns:
      The lines in their order, read one by one. A camera that is empty or -1 is unknown.

    Raises:
      UserError: while they are read; the table is missing or damaged, lacks a column, states a
        split in another column than `split`, or a row lacks a value or has a wrong one.
    """
    return (line for _, line in _numbered(path))


def refuse_two_labels(path: Path, name: Callable[[int], str], labels: np.ndarray) -> None:
    """Refuses a table in which an image has two labels.

    Args:
      path: of the table, for the error.
      name: of the image of a line.
      labels: int [n], of each line.

    Raises:
      UserError: names the image, its rows and its labels.
    """
    paths = (hash(_normal(name(index))) for index in range(len(labels)))
    hashes = np.fromiter(paths, np.int64, len(labels))
    order = np.argsort(hashes, kind="stable")
    same = hashes[order[1:]] == hashes[order[:-1]]
    for place in np.flatnonzero(same & (labels[order[1:]] != labels[order[:-1]])):
        one, other = order[place : place + 2]
        one, other = (_normal(name(int(index))) for index in order[place : place + 2])
        # Two names may have one hash.
        if one == other:
            found = [(row, line) for row, line in _numbered(path) if _normal(line.name) == one]
            (first, line), (row, again) = (
                found[0],
                next(each for each in found if each[1].label != found[0][1].label),
            )
            raise UserError(
                f"{path}: row {row}: {printable(one)} has the label {again.label!r}, but "
                f"{line.label!r} in row {first}; keep the right one"
            )


def _numbered(path: Path) -> Iterator[tuple[int, Line]]:
    """The lines of a table with the number of the row of each."""
    if not path.is_file():
        raise UserError(f"{path}: must exist; give the table as data.path")
    rows = READERS[path.suffix.lower()](path)
    names = next(rows, [])
    places = _places(path, names)
    unused = [] if "split" in places else sorted(set(range(len(names))) - {*places.values()})
    splits: dict[int, set[str]] | None = None
    for row, values in enumerate(rows, start=1):
        if not values:
            continue
        if splits is None:
            _refuse_flags(path, names, [(place, values[place]) for place in unused])
            splits = {place: set() for place in unused}
        for place in [*splits]:
            if part := part_of(values[place]):
                splits[place].add(part)
            else:
                del splits[place]
        yield row, _line(path, row, {name: values[place] for name, place in places.items()})
    if splits is None:
        raise UserError(f"{path}: has no rows; give a table with a row for each image")
    for place, parts in splits.items():
        if len(parts) > 1:
            raise UserError(
                f"{path}: column {names[place]!r} states a split; call it 'split', or remove it"
            )


def _normal(name: str) -> str:
    """A name that is the same for the same path."""
    return os.path.normpath(name.replace("\\", "/"))


def _line(path: Path, row: int, values: dict[str, str]) -> Line:
    """A row of a table, checked."""
    label, part, camera = (values.get(name, "") for name in ("label", *_OPTIONAL))
    named = part_of(part) if part else ""
    for column, value in values.items():
        if column != "camera" and (not value or "\0" in value or "\n" in value or "\r" in value):
            wrong = f"must be one line of text (got {value!r:.60})"
            problem = f": {column} {wrong}" if value else f" has no {column}"
            raise UserError(f"{path}: row {row}{problem}; fill it in or delete the row")
    if label in _MISSING:
        raise UserError(
            f"{path}: row {row} has the label {label!r}, which programs write for a missing one; "
            "fill it in, delete the row, or spell the class otherwise"
        )
    if named is None:
        raise UserError(f"{path}: row {row}: unknown split {part!r}; {nearest(part, PARTS)}")
    unknown = camera in _MISSING or camera == "-1"
    return Line(values["path"], label, named, "" if unknown else camera)


def _places(path: Path, names: list[str]) -> dict[str, int]:
    """The place of each column that counts."""
    if not names:
        raise UserError(f"{path}: must not be empty; give a table with the columns path and label")
    lower = [name.strip().lower() for name in names]
    for column in (*_REQUIRED, *_OPTIONAL):
        if lower.count(column) > 1:
            raise UserError(f"{path}: has {lower.count(column)} columns {column!r}; keep one")
        if column in _REQUIRED and column not in lower:
            raise UserError(f"{path}: {_lacks(path, column, names)}")
    return {column: lower.index(column) for column in (*_REQUIRED, *_OPTIONAL) if column in lower}


def _lacks(path: Path, column: str, names: list[str]) -> str:
    """What to do about a table without a column."""
    separator = _SEPARATORS.get(path.suffix.lower())
    if separator and (hint := separator_hint(names, separator, _REQUIRED)):
        return f"its columns are separated by {hint}"
    found = printable(", ".join(names[:20]))
    if any(name.lower().endswith(SUFFIXES) for name in names):
        return f"line 1 must name the columns, such as path and label (got {found})"
    return f"has no column {column!r}; its columns are {found}; rename one of them"


def _refuse_flags(path: Path, names: list[str], values: list[tuple[int, str]]) -> None:
    """Refuses a column such as is_test, by its first value."""
    for place, value in values:
        name = names[place]
        if part_of(name.lower().removeprefix("is")) and value.lower() in _FLAGS:
            raise UserError(
                f"{path}: column {name!r} states a split; write a column 'split' of train, "
                "validation and test instead, or remove it"
            )


def _chosen(path: Path, names: list[str], plain: list[str]) -> list[str]:
    """The columns of a Parquet file that count, or may state a split."""
    places = _places(path, names)
    used = [names[place] for place in places.values()]
    single = [name for name in plain if name not in used and names.count(name) == 1]
    return used if "split" in places else [*used, *single]


# Suffix of a table -> its columns' names and then its rows, an empty list for a blank one.
READERS: dict[str, Callable[[Path], Iterator[list[str]]]] = {
    **{suffix: partial(read_text, separator=each) for suffix, each in _SEPARATORS.items()},
    ".parquet": lambda path: read_parquet(path, partial(_chosen, path)),
}
