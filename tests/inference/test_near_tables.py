"""Tables of what is near come back as they were written."""

import csv

import pyarrow.parquet
import pytest

from darkrank_jax.inference.near_tables import COLUMNS, SEPARATORS, SUFFIXES, Near, write_near

TABLES = {
    "b/q.png": [Near(1, 0.125, "=1+1.png", "a,b", 7), Near(2, 0.5, "x.png", "", 3)],
    "a.png": [Near(1, 2.25, 'caf\udce9"\n.png', "c", 0)],
}
FLAT = [(query, *near) for query, found in TABLES.items() for near in found]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_neighbour_has_a_row(suffix, tmp_path):
    path = tmp_path / f"near{suffix}"
    write_near(path, TABLES)
    if suffix == ".parquet":
        rows = [tuple(row.values()) for row in pyarrow.parquet.read_table(path).to_pylist()]
        assert tuple(pyarrow.parquet.read_table(path).column_names) == COLUMNS
        assert rows == [(*row[:3], row[3].replace("\udce9", r"\udce9"), *row[4:]) for row in FLAT]
        return
    with path.open(newline="") as file:
        head, *rows = csv.reader(file, delimiter=SEPARATORS[suffix])
    assert tuple(head) == COLUMNS
    assert rows[0] == ["b/q.png", "1", "0.125", "'=1+1.png", "a,b", "7"]
    assert rows[2] == ["a.png", "1", "2.25", 'caf\\udce9"\n.png', "c", "0"]
    assert len(rows) == len(FLAT)
