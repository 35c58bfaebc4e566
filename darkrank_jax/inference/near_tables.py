"""The nearest of each query in a file: .csv, .tsv or .parquet, a row a neighbour."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from darkrank_jax.evaluation.embedding_files import escape, load_pyarrow
from darkrank_jax.files import replacing, write_csv


class Near(NamedTuple):
    """One image of a gallery that is near a query.

    Attributes:
      rank: from 1.
      distance: Euclidean.
      image: its id in the gallery.
      label: of it, or "".
      row: of the gallery.
    """

    rank: int
    distance: float
    image: str
    label: str
    row: int


COLUMNS = ("query", "rank", "distance", "image", "label", "row")
SEPARATORS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*SEPARATORS, ".parquet")


def write_near(path: Path, tables: Mapping[str, Sequence[Near]]) -> None:
    """Writes what is near each query, whole or not at all.

    Args:
      path: .csv or .tsv, none of whose cells a spreadsheet runs, or .parquet.
      tables: name of a query -> its nearest.

    Raises:
      UserError: the file cannot be written, or pyarrow is missing.
    """
    rows = [
        (escape(query), near.rank, near.distance, escape(near.image), escape(near.label), near.row)
        for query, found in tables.items()
        for near in found
    ]
    if path.suffix == ".parquet":
        pyarrow = load_pyarrow(path)
        table = pyarrow.table(dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True)))
        with replacing(path) as beside, beside.open("wb") as file:
            pyarrow.parquet.write_table(table, file)
        return
    write_csv(path, COLUMNS, rows, SEPARATORS[path.suffix])
