"""Every type of a schema is taken, every other refused by file and field."""

from pathlib import Path

import pytest

from darkrank_jax.errors import UserError
from darkrank_jax.schema import check_schema

SCHEMA = {"a": int, "b?": [float], "c": {str: (str, None)}, "d?": {"e": bool}, "f?": (dict, int)}


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1, "c": {}},
        {"a": 0, "b": [1, 2.5, float("nan")], "c": {"x": "y", "z": None}, "more": object()},
        {"a": 1, "c": {}, "d": {"e": False}, "f": 3},
        {"a": 1, "c": {}, "f": {"x": 1}},
    ],
)
def test_what_fits_is_taken(value):
    check_schema(value, SCHEMA, Path("f"), "")


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ([], "f: the file must be an object (got []); fix it"),
        (None, "f: the file must be an object (got None); fix it"),
        ({"c": {}}, "f: a must be a whole number (got nothing); fix it"),
        ({"a": True, "c": {}}, "f: a must be a whole number (got True); fix it"),
        ({"a": 1.0, "c": {}}, "f: a must be a whole number (got 1.0); fix it"),
        ({"a": 1, "b": [1, "2"], "c": {}}, "f: b[1] must be a number (got '2'); fix it"),
        ({"a": 1, "b": {}, "c": {}}, "f: b must be a list (got {}); fix it"),
        ({"a": 1, "c": {"x.y": 3}}, "f: c.x.y must be text or null (got 3); fix it"),
        ({"a": 1, "c": {}, "d": {"e": 0}}, "f: d.e must be true or false (got 0); fix it"),
        ({"a": 1, "c": {}, "f": []}, "f: f must be an object or a whole number (got []); fix it"),
        ({"a": "x" * 99, "c": {}}, f"f: a must be a whole number (got '{'x' * 56}...); fix it"),
    ],
)
def test_what_does_not_fit_is_refused_by_file_and_field(value, line):
    with pytest.raises(UserError) as error:
        check_schema(value, SCHEMA, Path("f"), "fix it")
    assert str(error.value) == line
