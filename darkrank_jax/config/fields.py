"""Checks names and types of a config against a function's signature or a dataclass' fields."""

import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any

from darkrank_jax.errors import UserError, nearest


def check_arguments(
    function: Callable, arguments: Mapping[str, Any], where: str, *, given: Collection[str] = ()
) -> None:
    """Refuses arguments that a function does not take, lacks, or takes with another type.

    Args:
      function: what will be called with the arguments as keywords.
      arguments: keyword arguments as the config states them.
      where: the config field that holds them, for the error.
      given: names of parameters that the program itself passes, which no config may state.

    Raises:
      UserError: an unknown name (with the nearest), a missing one, or a wrong type.

    Example:
      >>> def loss(embeddings, *, margin: float = 0.2): ...
      >>> check_arguments(loss, {"margn": 0.1}, "losses.triplet", given=["embeddings"])
      Traceback (most recent call last):
      darkrank_jax.errors.UserError: losses.triplet.margn: unknown field; did you mean 'margin'?
    """
    parameters = _settable(function, given)
    required = [n for n, p in parameters.items() if p.default is inspect.Parameter.empty]
    check_fields(arguments, argument_types(function, given=given), where, required=required)


def argument_types(function: Callable, *, given: Collection[str] = ()) -> dict[str, Any]:
    """The names and types of the arguments that a config may state for a function.

    Args:
      function: what will be called with the arguments as keywords.
      given: names of parameters that the program itself passes.

    Returns:
      Type by name; `Any` where there is no annotation.

    Example:
      >>> def loss(embeddings, *, margin: float = 0.2): ...
      >>> argument_types(loss, given=["embeddings"])
      {'margin': <class 'float'>}
    """
    hints = typing.get_type_hints(function)
    return {name: hints.get(name, Any) for name in _settable(function, given)}


def _settable(function: Callable, given: Collection[str]) -> dict[str, inspect.Parameter]:
    """The parameters that a config may state."""
    return {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in given and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }


def check_fields(
    values: Mapping[str, Any], types_: Mapping[str, Any], where: str, *, required: Collection[str]
) -> None:
    """Refuses values whose names are unknown or missing, whose types are wrong, or NaN.

    Args:
      values: what the config states.
      types_: the valid names and the type of each.
      where: the config field that holds the values; empty at the top.
      required: names without which there is nothing to run.

    Raises:
      UserError: one line that names the field and the fix.

    Example:
      >>> check_fields({"width": "8"}, {"width": int}, "model", required=[])
      Traceback (most recent call last):
      darkrank_jax.errors.UserError: model.width: must be int (got '8' (str))
    """
    prefix = f"{where}." if where else ""
    for name, value in values.items():
        if name not in types_:
            raise UserError(f"{prefix}{name}: unknown field; {nearest(name, types_)}")
        if not _is_instance(value, types_[name]):
            found = type(value).__name__
            expected = _type_name(types_[name])
            raise UserError(f"{prefix}{name}: must be {expected} (got {value!r} ({found}))")
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, float) and not math.isfinite(each):
                raise UserError(f"{prefix}{name}: must be a finite number (got {value})")
            if isinstance(each, str) and "\0" in each:
                raise UserError(
                    f"{prefix}{name}: must be text without the character of code 0 (got "
                    f"{value!r}); leave it out"
                )
    for name in required:
        if name not in values:
            raise UserError(f"{prefix}{name}: must be {_type_name(types_[name])} (got nothing)")


def field_types(dataclass: type) -> dict[str, Any]:
    """The names and types of a dataclass' fields."""
    hints = typing.get_type_hints(dataclass)
    return {field.name: hints[field.name] for field in dataclasses.fields(dataclass)}


def _is_instance(value: Any, expected: Any) -> bool:
    """Whether a value of a config fits an annotation; what configs cannot state fits anything."""
    origin, options = typing.get_origin(expected), typing.get_args(expected)
    if origin in (typing.Union, types.UnionType):
        return any(_is_instance(value, option) for option in options)
    if origin is typing.Literal:
        return value in options
    if expected is type(None):
        return value is None
    if isinstance(value, bool) and expected in (int, float):
        return False
    if expected is float:
        return isinstance(value, int | float)
    expected = origin or expected
    if expected in (int, str, bool, tuple, dict):
        return isinstance(value, expected)
    if expected in (typing.Sequence, list, Collection) or expected is type(Mapping):
        return isinstance(value, list | tuple | dict)
    return True


def _type_name(expected: Any) -> str:
    """How an error names a type: `int`, `float or None`, `'exact' or 'sampled'`."""
    if typing.get_origin(expected) in (typing.Union, types.UnionType):
        return " or ".join(_type_name(option) for option in typing.get_args(expected))
    if typing.get_origin(expected) is typing.Literal:
        return " or ".join(repr(option) for option in typing.get_args(expected))
    return "None" if expected is type(None) else getattr(expected, "__name__", str(expected))
