"""Parquet tables: labels of any type as text, or an error that names row and reason."""
# ruff: noqa: E501

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from darkrank_jax.data.files import parquet_tables
from darkrank_jax.errors import UserError
from tests.data.table_files import error_of, lines, parquet

PATHS = ["a.png", "b.png", "c.png"]


def values_of_parquet(name):
    """Labels as a Parquet file has them, and what they are called."""
    arrow = pytest.importorskip("pyarrow")
    days = [datetime.date(2024, 1, day) for day in (1, 2, 3)]
    return {
        "text": (["x", "y ", "x"], ["x", "y", "x"]),
        "large text": (arrow.array(["x", "y", "x"], arrow.large_string()), ["x", "y", "x"]),
        "bytes": ([b"x", "é".encode(), b"x"], ["x", "é", "x"]),
        "fixed bytes": (arrow.array([b"xx", b"yy", b"xx"], arrow.binary(2)), ["xx", "yy", "xx"]),
        "categories": (arrow.array(["x", "y", "x"]).dictionary_encode(), ["x", "y", "x"]),
        "categories of bytes": (arrow.array([b"x", b"y", b"x"]).dictionary_encode(), ["x", "y", "x"]),
        "integers": ([-1, 2, 2**62], ["-1", "2", f"{2**62}"]),
        "unsigned": (arrow.array([0, 2, 2**64 - 1], arrow.uint64()), ["0", "2", f"{2**64 - 1}"]),
        "floats": ([1.0, -0.0, 2.5], ["1", "0", "2.5"]),
        "half floats": (arrow.array(np.float16([1, 2, 0.5])), ["1", "2", "0.5"]),
        "decimals": ([decimal.Decimal(x) for x in ("1.00", "2.50", "300.00")], ["1", "2.5", "300"]),
        "huge decimals": ([decimal.Decimal(x) for x in (2**80, 1, 0)], [f"{2**80}", "1", "0"]),
        "yes and no": ([True, False, True], ["True", "False", "True"]),
        "dates": (days, ["2024-01-01", "2024-01-02", "2024-01-03"]),
    }[name]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        *("text", "large text", "bytes", "fixed bytes", "categories", "categories of bytes"),
        *("integers", "unsigned", "floats", "half floats", "decimals", "huge decimals"),
        *("yes and no", "dates"),
    ],
)
def test_parquet_labels_of_any_type_are_text(name, tmp_path):
    values, expected = values_of_parquet(name)
    path = parquet(tmp_path / "t.parquet", path=[p.encode() for p in PATHS], label=values)
    assert [line[:2] for line in lines(path)] == list(zip(PATHS, expected, strict=True))


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([1.0, float("nan"), 3.0], "row 2 has no label; fill it in or delete the row"),
        ([1, None, 3], "row 2 has no label; fill it in or delete the row"),
        (["x", "y", None], "row 3 has no label; fill it in or delete the row"),
        (["x", "", "y"], "row 2 has no label; fill it in or delete the row"),
        ([None, None, None], "row 1 has no label; fill it in or delete the row"),
        (["x", "nan", "y"], "row 2 has the label 'nan', which programs write for a missing one"),
        ([{"a": 1}] * 3, "column 'label' must hold text or numbers (got struct<a: int64>)"),
        ([[1], [2], [3]], "column 'label' must hold text or numbers (got list<"),
        ([datetime.timedelta(1)] * 3, "column 'label' must hold text or numbers (got duration["),
        ([b"x", b"caf\xe9", b"y"], "row 2: label must be UTF-8 (got byte 0xe9); write it as text"),
        ([1.0, 2.0**60, 3.0], "row 2: label must be exact (got the float 1.15292e+18); write"),
        ([1.0, float("inf"), 3.0], "row 2: label must be exact (got the float inf); write"),
        (["x", "y\nz", "y"], "row 2: label must be one line of text (got 'y\\nz')"),
        (["x", "y\0", "y"], "row 2: label must be one line of text (got 'y\\x00')"),
    ],
)
def test_a_parquet_label_that_is_wrong_names_row_and_reason(values, line, tmp_path):
    path = parquet(tmp_path / "t.parquet", path=PATHS, label=values)
    assert error_of(path).startswith(line)


def test_parquet_text_that_is_not_utf8_names_its_row(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    raw = arrow.array([b"a.png", b"caf\xe9.png", b"c.png"])
    wrong = arrow.Array.from_buffers(arrow.string(), 3, raw.buffers())
    path = parquet(tmp_path / "t.parquet", path=wrong, label=["x", "y", "z"])
    assert error_of(path) == "row 2: path must be UTF-8 (got byte 0xe9); write it as text"


def test_parquet_of_no_rows_and_of_other_columns_is_refused(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    empty = arrow.array([], arrow.string())
    path = parquet(tmp_path / "t.parquet", path=empty, label=empty)
    assert error_of(path) == "has no rows; give a table with a row for each image"
    nested = [{"path": "a.png", "label": "x"}]
    assert error_of(parquet(path, row=nested)).startswith(
        "has no column 'path'; its columns are row"
    )
    said = error_of(parquet(path, path=PATHS, label=PATHS, phase=["train", "test", "test"]))
    assert said == "column 'phase' states a split; call it 'split', or remove it"
    said = error_of(parquet(path, path=PATHS, label=PATHS, is_test=[True, False, False]))
    assert said.startswith("column 'is_test' states a split; write a column 'split'")


def test_parquet_rows_are_numbered_across_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_tables, "BATCH", 100)
    count = 350
    labels = ["x"] * (count - 1) + [""]
    path = parquet(tmp_path / "t.parquet", path=[f"{n}.png" for n in range(count)], label=labels)
    assert error_of(path).startswith(f"row {count} has no label")


def repeated(value, count):
    """A column that takes as much room in a file as one value."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), [value])


BOMBS = {
    "rows": (lambda: repeated("a.png", 2**21), {}, "rows, as its "),
    "values": (lambda: repeated("y" * 2**20, 2**13), {}, "'path' must have at most 4,096 bytes"),
    "bytes": (
        lambda: pa.array(["y" * 2**20] * 300),
        {"use_dictionary": False, "compression": "zstd"},
        "unpacks to 314,57",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_whose_rows_would_fill_the_memory_is_refused(name, tmp_path):
    column, options, said = BOMBS[name]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"path": column()}), path, **options)
    assert path.stat().st_size < 100_000
    with pytest.raises(UserError) as error:
        list(parquet_tables.read_parquet(path, lambda names, plain: names))
    assert str(error.value).startswith(f"{path}: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_repeated_labels_and_names_of_many_images_are_read(tmp_path):
    names = [f"{index:06}.png" for index in range(20_000)]
    table = pa.table({"path": names, "label": repeated("a class", 20_000)})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", compression_level=19)
    rows = list(parquet_tables.read_parquet(tmp_path / "a.parquet", lambda names, plain: names))
    assert rows[1:] == [[name, "a class"] for name in names]
