"""Text of strangers made safe to print."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkrank_jax.terminal import printable


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
