"""CSV and TSV files: each value as written, or an error that names row and reason."""
# ruff: noqa: E501

import pytest

from tests.data.table_files import error_of, lines, written

pytestmark = pytest.mark.usefixtures("cache")


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
        ("\npath,label\n", "must not be empty; give a table with the columns path and label"),
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
