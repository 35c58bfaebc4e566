"""Types of nested plain values, as JSON has them, checked with an error that names the field."""

from pathlib import Path
from typing import Any

from darkrank_jax.errors import UserError

_NAMES = {
    int: "a whole number", float: "a number", str: "text", bool: "true or false", dict: "an object",
    type(None): "null",
}  # fmt: skip


def check_schema(value: Any, schema: Any, path: Path, advice: str, field: str = "") -> None:
    """Refuses a value that was read from a file and is not what the program writes there.

    Args:
      value: nested dicts, lists and plain values.
      schema: `int`, `float` (a whole number is one, too), `str`, `bool`, `dict`, `None` or
        `object` (anything); a tuple of alternatives; `[schema]` for a list;
        `{"name": schema, "name?": schema}` for a dict with these fields, the latter optional, and
        perhaps others; `{str: schema}` for a dict of any names.
      path: of the file.
      advice: what to do, to end the error with.
      field: dotted, that holds the value; empty: the whole file.

    Raises:
      UserError: names the file, the field, what it must be and what it is.

    Example:
      >>> check_schema({"a": [1, "x"]}, {"a": [int]}, Path("f.json"), "write it again")
      Traceback (most recent call last):
      darkrank_jax.errors.UserError: f.json: a[1] must be a whole number (got 'x'); write it again
    """
    if not _fits(value, schema):
        got = "nothing" if value is _MISSING else _shown(value)
        raise UserError(
            f"{path}: {field or 'the file'} must be {_name(schema)} (got {got}); {advice}"
        )
    if isinstance(schema, tuple):
        schema = next(each for each in schema if _fits(value, each))
    if isinstance(schema, list):
        for index, each in enumerate(value):
            check_schema(each, schema[0], path, advice, f"{field}[{index}]")
    if isinstance(schema, dict):
        fields = dict.fromkeys(value, schema[str]) if str in schema else schema
        for name, inner in fields.items():
            plain = name.removesuffix("?") if str not in schema else name
            if plain == name or plain in value:
                within = f"{field}.{plain}" if field else plain
                check_schema(value.get(plain, _MISSING), inner, path, advice, within)


_MISSING = object()


def _fits(value: Any, schema: Any) -> bool:
    """Whether a value is of the type at the top of a schema."""
    if isinstance(schema, tuple):
        return any(_fits(value, each) for each in schema)
    if value is _MISSING:
        return False
    if schema is None:
        return value is None
    if isinstance(schema, dict | list):
        return isinstance(value, type(schema))
    if schema is float:
        return type(value) in (int, float)
    return schema is object or type(value) is schema


def _name(schema: Any) -> str:
    """What an error calls a type."""
    if isinstance(schema, tuple):
        return " or ".join(map(_name, schema))
    if isinstance(schema, list):
        return "a list"
    if isinstance(schema, dict):
        return "an object"
    return "null" if schema is None else _NAMES.get(schema, "there")


def _shown(value: Any) -> str:
    """A value in short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
