"""Text of strangers made safe to print."""

import io
import logging
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkrank_jax.terminal import PrintableFormatter, aligned, printable, printable_stream


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\r", r"a\x0ab\x0d"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\u2028b", r"a\u2028b"),
        ("\udcff", r"\udcff"),
        ("naïve 猫 🐈", "naïve 猫 🐈"),
    ],
)
def test_printable_escapes_what_a_terminal_acts_on(text, expected):
    assert printable(text) == expected


@given(st.text(alphabet=st.characters()))
def test_printable_text_is_one_line_of_utf8(text):
    safe = printable(text)
    assert len(safe.splitlines()) <= 1
    safe.encode()
    assert printable(safe) == safe


def test_a_stream_escapes_controls_and_what_its_encoding_lacks():
    file = io.BytesIO()
    stream = printable_stream(io.TextIOWrapper(file, encoding="cp1252"))
    assert stream.write("猫 Zürich\x1b]0;t\x07\ta\udce9\r\nb") == 20
    stream.flush()
    assert (
        file.getvalue()
        == b"\\u732b Z\xfcrich\\x1b]0;t\\x07\ta\\udce9\\x0d" + os.linesep.encode() + b"b"
    )
    other = io.StringIO()
    assert printable_stream(other) is other


def test_a_log_has_one_escaped_line_for_a_record():
    record = logging.LogRecord("a", 30, "b", 1, "%s: odd", ("x\nerror: forged\x1b[2J",), None)
    assert PrintableFormatter().format(record) == r"x\nerror: forged\x1b[2J: odd".replace(
        r"\n", r"\x0a"
    )


def test_a_table_has_equal_columns_and_no_space_at_its_ends():
    rows = [("", "a", "long head"), ("first", "12", "b"), ("2", "", "")]
    assert aligned(rows).split("\n") == ["       a   long head", "first  12  b", "2"]
    assert aligned(rows, numbers=True).split("\n") == [
        "        a  long head",
        "first  12          b",
        "2",
    ]
    with pytest.raises(ValueError, match="zip"):
        aligned([("a", "b"), ("c",)])


PRINT = """
import sys
from darkrank_jax import main
main.usage = lambda: "猫 \\x1b[2J"
sys.argv = ["darkrank", "--help"]
try:
    main.console()
except SystemExit:
    sys.argv = ["darkrank", "--mode=\\x1b[2J猫"]
    main.console = main.main(sys.argv)
"""


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_the_command_prints_to_any_encoding(encoding):
    done = subprocess.run(
        [sys.executable, "-c", PRINT],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        check=True,
    )
    expected = "猫 \\x1b[2J".encode(encoding, "backslashreplace")
    assert done.stdout.split(b"\n")[0].rstrip(b"\r") == expected
    assert done.stderr.decode(encoding).startswith("error: --mode: unknown name ")
    assert b"\x1b" not in done.stderr
