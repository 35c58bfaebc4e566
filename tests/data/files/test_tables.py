"""Tables of images: the right value, or an error that names file, row and reason."""
# ruff: noqa: E501

import contextlib
import os

import numpy as np
import pytest

from darkrank_jax.data.files.parquet_tables import read_parquet
from darkrank_jax.data.files.text_tables import read_text
from darkrank_jax.errors import UserError
from tests.data.image_files import CLASSES, WHOLE, layout, load, refusal, write_folder
from tests.data.table_files import error_of, lines, parquet, written

pytestmark = pytest.mark.usefixtures("cache")
SMALL = layout(CLASSES[:8], 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('path,label\na.png,"Smith, Anna"\n', [("a.png", "Smith, Anna", "", "")]),
        ('path,label\na.png, "Smith, Anna"\n', [("a.png", "Smith, Anna", "", "")]),
        ('path,label\na.png,"5"" nails"\n', [("a.png", '5" nails', "", "")]),
        ('path,label\na.png,5" nails\n', [("a.png", '5" nails', "", "")]),
        (
            "\ufeffpath,label\r\na.png,x\r\n\r\nb.png,x",
            [("a.png", "x", "", ""), ("b.png", "x", "", "")],
        ),
        ("path,label\ra.png,x\rb.png,y\r", [("a.png", "x", "", ""), ("b.png", "y", "", "")]),
        ("path,label\na.png,x \nb.png,\u00a0x\n", [("a.png", "x", "", ""), ("b.png", "x", "", "")]),
        (" Path , LABEL \na.png,x\n", [("a.png", "x", "", "")]),
        ("label,note,path\nx,,a.png\n", [("a.png", "x", "", "")]),
        (",note,note,path,label\n0,,,a.png,x\n", [("a.png", "x", "", "")]),
        (
            f"path,label\na.png,{2**70}\nb.png,007\n",
            [("a.png", f"{2**70}", "", ""), ("b.png", "007", "", "")],
        ),
        (
            "path,label\na.png,none\nb.png,nans\n",
            [("a.png", "none", "", ""), ("b.png", "nans", "", "")],
        ),
        (
            "path,label,Split\na.png,x,Training\nb.png,y,Probe\n",
            [("a.png", "x", "train", ""), ("b.png", "y", "query", "")],
        ),
        (
            "path,label,camera\na.png,x,\nb.png,x,nan\nc.png,x,-1\nd.png,x,0\n",
            [
                ("a.png", "x", "", ""),
                ("b.png", "x", "", ""),
                ("c.png", "x", "", ""),
                ("d.png", "x", "", "0"),
            ],
        ),
        # A column of words for splits alone states one; a single word or others do not.
        (
            "path,label,status\na.png,x,valid\nb.png,x,valid\n",
            [("a.png", "x", "", ""), ("b.png", "x", "", "")],
        ),
        (
            "path,label,kind\na.png,x,test\nb.png,y,train\nc.png,y,boat\n",
            [("a.png", "x", "", ""), ("b.png", "y", "", ""), ("c.png", "y", "", "")],
        ),
    ],
)
def test_a_text_table_gives_each_value_as_written(text, expected, tmp_path):
    assert lines(written(tmp_path / "t.csv", text)) == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("path,label\na.png,x\nb.png,Smith, Kim\n", "row 2 (line 3) must have 2 values, as path, label (got 3); enclose a value that holds commas"),
        ("path,label\na.png,x,\n", "row 1 (line 2) must have 2 values, as path, label (got 3)"),
        ("path,label,split\n\na.png,x\n", "row 2 (line 3) must have 3 values, as path, label, split (got 2); fill in what is missing"),
        ('path,label\na.png,"x\nb.png,y\nc.png,z\n', "row 1 (line 2) cannot be read (unexpected end of data); enclose"),
        ('path,label\na.png,x\nb.png,"x\nc.png,y"\n', "row 2 (line 3) goes on in the next line; write each value on one line, or remove"),
        ('path,label,note\na.png,x,"one\ntwo"\n', "row 1 (line 2) goes on in the next line; "),
        ('path,label\na.png,"x"y\n', "row 1 (line 2) cannot be read (',' expected after '\"'); enclose"),
        ('path,label\na.png,"x\\"y"\n', "row 1 (line 2) cannot be read (',' expected after '\"'); enclose"),
        ("path,label\na.png,\n", "row 1 has no label; fill it in or delete the row"),
        ('path,label\na.png,x\nb.png,""\n', "row 2 has no label; fill it in or delete the row"),
        ("path,label\na.png,x\n,y\n", "row 2 has no path; fill it in or delete the row"),
        ("path,label,split\na.png,x,\n", "row 1 has no split; fill it in or delete the row"),
        ("path,label,split\na.png,x,trains\n", "row 1: unknown split 'trains'; did you mean 'train'?"),
        *(
            (f"path,label\na.png,x\nb.png,{word}\n", f"row 2 has the label {word!r}, which programs write for a missing one; ")
            for word in ("nan", "NaN", "NA", "<NA>", "N/A", "#N/A", "null", "NULL", "None", "NaT")
        ),
        ("path,label,label\na.png,x,y\n", "has 2 columns 'label'; keep one"),
        ("Path,path,label\na.png,b.png,y\n", "has 2 columns 'path'; keep one"),
        ("path;label\na.png;x\n", "its columns are separated by semicolons; separate them by commas"),
        ("path\tlabel\na.png\tx\n", "its columns are separated by tabs; separate them by commas"),
        ("c0/0.png,c0\nc0/1.png,c0\n", "line 1 must name the columns, such as path and label (got c0/0.png, c0)"),
        ("\npath,label\n", "is empty; give a table with the columns path and label"),
        ("path,label\n\n  \n", "has no rows; give a table with a row for each image"),
        ("path,label\na.png,x\nb\0.png,x\n", "row 2 (line 3) holds a NUL character; save the table as UTF-8"),
        ("path,label\na.png,é\n".encode("utf-16"), "line 1 must be UTF-8 (got byte 0xff); save the table as UTF-8"),
        ("path,label\na.png,é\n".encode("utf-16-le"), "line 1 holds a NUL character; save the table as UTF-8"),
        ("path,label\na.png,x\nb.png,é\n".encode("latin-1"), "row 2 (line 3) must be UTF-8 (got byte 0xe9)"),
        ("path,label\na.png," + "x" * 2**20, "row 1 (line 2) must have fewer than 1,048,576 characters; is it a table?"),
        ("path,label\na.png," + "x" * 2**18 + "\n", "row 1 (line 2) cannot be read (field larger than field limit"),
        ("path,label,subset\na.png,x,train\nb.png,y,test\n", "column 'subset' states a split; call it 'split', or remove it"),
        ("path,label,is_test\na.png,x,0\nb.png,y,1\n", "column 'is_test' states a split; write a column 'split' of"),
        ("path,label,is_valid\na.png,x,False\nb.png,y,True\n", "column 'is_valid' states a split; write a"),
    ],
)  # fmt: skip
def test_a_text_table_that_is_wrong_names_row_and_reason(text, line, tmp_path):
    assert error_of(written(tmp_path / "t.csv", text)).startswith(line)


def test_a_tsv_is_separated_by_tabs(tmp_path):
    text = "path\tlabel\na.png\tSmith, Anna\n"
    assert lines(written(tmp_path / "t.tsv", text)) == [("a.png", "Smith, Anna", "", "")]
    said = error_of(written(tmp_path / "u.tsv", text.replace("\t", "|")))
    assert said == "its columns are separated by vertical bars; separate them by tabs"


@pytest.mark.parametrize("suffix", [".xlsx", ".json", ".txt", ".feather"])
def test_a_table_of_another_kind_is_refused(suffix, tmp_path, capsys):
    path = written(tmp_path / f"t{suffix}", "path,label\n")
    assert refusal(capsys, path) == (
        f"{path}: {suffix} tables are not read; save it as .csv, .tsv or .parquet"
    )


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_a_table_cut_or_garbled_anywhere_is_read_or_refused(suffix, tmp_path):
    rng = np.random.default_rng(5)
    separator = {".csv": ",", ".tsv": "\t"}.get(suffix)
    path = tmp_path / f"t{suffix}"
    rows = [
        ("path", "label", "split", "camera"),
        ("é.png", "x", "train", "1"),
        ("b", "y", "test", ""),
    ]
    if separator:
        written(path, "\n".join(separator.join(row) for row in rows))
    else:
        columns = zip(*rows, strict=True)
        parquet(path, **{name: list(values) for name, *values in columns})
    data = path.read_bytes()
    for trial in range(60):
        changed = bytearray(data)
        if trial % 2:
            changed[rng.integers(len(data))] = rng.integers(256)
        else:
            del changed[rng.integers(len(data)) :]
        with contextlib.suppress(UserError):
            lines(written(path, bytes(changed)))


def test_one_image_with_two_labels_is_refused_with_its_rows(tmp_path, capsys):
    path = write_folder(tmp_path, SMALL) / "t.csv"
    rows = [f"{name},{name.split('/')[0]}" for name in SMALL]
    text = "\n".join(["path,label", *rows[:3], "", *rows[3:], "./class 2//0.png,class 5"])
    assert refusal(capsys, written(path, text)) == (
        f"{path}: row 18: class 2/0.png has the label 'class 5', but 'class 2' in row 3; keep the "
        "right one"
    )


def test_what_a_table_names_is_opened_only_if_it_is_a_file(tmp_path, caplog):
    path = write_folder(tmp_path, SMALL) / "t.csv"
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("/dev/zero")
    names = [*SMALL, "pipe.png", "link.png", "/dev/zero", "class 1"]
    text = "path,label\n" + "".join(f"{name},{number // 2}\n" for number, name in enumerate(names))
    splits = load(written(path, text))
    assert sum(len(split.labels) for split in splits.values()) == 16
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: 4 rows name folders, pipes, sockets or devices and are left out; first pipe.png"
    ]


def test_backslashes_in_a_table_are_folders(tmp_path):
    path = write_folder(tmp_path, SMALL | {"class 1/a\\b.png": WHOLE["class 9/0.png"]}) / "t.csv"
    names = [name.replace("/", "\\") for name in SMALL]
    rows = [f"{name},{name[:7]}" for name in [*names, "class 1/a\\b.png"]]
    splits = load(written(path, "\n".join(["path,label", *rows])))
    found = {name for split in splits.values() for name in split.names}
    assert found == {*SMALL, "class 1/a\\b.png"}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_split_column_in_any_spelling_gives_its_splits(suffix, tmp_path):
    path = write_folder(tmp_path, SMALL) / f"t{suffix}"
    words = ["Training"] * 8 + ["VAL"] * 4 + ["testing"] * 4
    if suffix == ".csv":
        rows = [f"{n},{n[:7]},{word}" for n, word in zip(SMALL, words, strict=True)]
        written(path, "\n".join(["path,label,SPLIT", *rows]))
    else:
        parquet(path, path=[*SMALL], label=[n[:7] for n in SMALL], Split=words)
    splits = load(path)
    assert splits["train"].class_names == tuple(CLASSES[:4])
    assert splits["validation"].class_names == tuple(CLASSES[4:6])
    assert splits["test"].class_names == tuple(CLASSES[6:8])


def test_readers_give_columns_and_then_rows(tmp_path):
    path = written(tmp_path / "t.csv", "a,b\n1, 2 \n\n")
    assert list(read_text(path, ",")) == [["a", "b"], ["1", "2"], []]
    path = parquet(tmp_path / "t.parquet", a=[1, 2], b=["x", None])
    assert list(read_parquet(path, lambda names, plain: names[::-1])) == [
        ["b", "a"],
        ["x", "1"],
        ["", "2"],
    ]
