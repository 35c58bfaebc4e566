"""Flags of a command line: found and checked by the table of the modes, in plain Python."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from darkrank_jax.cli.modes import Flag, imported
from darkrank_jax.errors import UserError, nearest

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_KINDS = {int: "a whole number", float: "a number", bool: "true or false"}


def find_flags(
    arguments: Sequence[str], known: Mapping[str, Flag]
) -> tuple[dict[str, list[str]], list[str]]:
    """Finds the known flags of a command line.

    Args:
      arguments: without the name of the program.
      known: flags by name.

    Returns:
      The texts of each flag that is given, and all other arguments in their order.

    Raises:
      UserError: a flag has no value.

    Example:
      >>> known = {"devices": Flag("devices", 0, "how many", int)}
      >>> find_flags(["--devices", "3", "runs/a"], known)
      ({'devices': ['3']}, ['runs/a'])
    """
    given: dict[str, list[str]] = {}
    rest, waiting = [], list(arguments)
    while waiting:
        argument = waiting.pop(0)
        name, stated, text = argument.lstrip("-").partition("=")
        if not argument.startswith("-") or name not in known:
            rest.append(argument)
            continue
        if not stated and known[name].kind is bool:
            text = "true"
        elif not stated:
            if not waiting or waiting[0].startswith("--"):
                raise UserError(
                    f"--{name}: must have a value (got nothing); give --{name}={name.upper()}"
                )
            text = waiting.pop(0)
        given.setdefault(name, []).append(text)
    return given, rest


def read_flag(flag: Flag, texts: Sequence[str]) -> Any:
    """The value of a flag that is given, of its type and in its range.

    Args:
      flag: from the table.
      texts: one for each time that it is given.

    Raises:
      UserError: it is given twice, or its value is not one that it takes.

    Example:
      >>> read_flag(Flag("nearest", None, "how many", int, least=1), ["0"])
      Traceback (most recent call last):
      darkrank_jax.errors.UserError: --nearest: must be at least 1 (got 0); give another
    """
    value: Any = tuple(texts)
    if flag.kind is not tuple:
        value = _typed(flag, once(f"--{flag.name}", texts))
        _check_range(flag, value)
        _check_text(flag, value)
    if flag.check:
        imported(flag.check)(value)
    return value


def once(name: str, texts: Sequence[str]) -> str:
    """The text of a flag that may be given once only."""
    if len(texts) > 1:
        raise UserError(f"{name}: must be given once (got {', '.join(texts)}); leave one out")
    return texts[0]


def check_fields_once(arguments: Sequence[str]) -> None:
    """Refuses a field of the config that a command line states twice.

    Args:
      arguments: `--config.FIELD=VALUE`, `--config.FIELD VALUE` or `--noconfig.FIELD`, and others.

    Raises:
      UserError: names the field and both values.
    """
    fields: dict[str, list[str]] = {}
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue="--"):
        if is_field(argument):
            name, stated, text = argument.lstrip("-").partition("=")
            alone = str(not name.startswith("no")).lower()
            text = text if stated else alone if following.startswith("--") else following
            fields.setdefault(name.removeprefix("no"), []).append(text)
    for name, texts in fields.items():
        once(f"--{name}", texts)


def is_field(argument: str) -> bool:
    """Whether an argument states a field of the config."""
    return argument.startswith("-") and argument.lstrip("-").startswith(("config.", "noconfig."))


def _typed(flag: Flag, text: str) -> Any:
    """The value of a text."""
    try:
        return _BOOLEANS[text.lower()] if flag.kind is bool else flag.kind(text)
    except (ValueError, KeyError) as error:
        raise _wrong(flag, _KINDS[flag.kind], repr(text)) from error


def _check_range(flag: Flag, value: Any) -> None:
    """Refuses a number outside the range of a flag."""
    least, most = flag.least, flag.most
    if most is not None and not (least or 0) <= value <= most:
        raise _wrong(flag, f"from {least or 0} to {most}", value)
    if least is not None and not value >= least:
        raise _wrong(flag, f"at least {least}", value)


def _check_text(flag: Flag, value: Any) -> None:
    """Refuses a text that names nothing, no known name, or a file of an unknown kind."""
    if value == "" and flag.default is None:
        raise _wrong(flag, "a name or path that is not empty", repr(value))
    if flag.endings and value != flag.default and not value.endswith(flag.endings):
        raise _wrong(flag, f"a file that ends in {' or '.join(flag.endings)}", value)
    if not flag.names or value == flag.default:
        return
    for name in map(str.strip, value.split(",")) if flag.several else [value]:
        if name not in flag.names:
            raise UserError(f"--{flag.name}: unknown name {name!r}; {nearest(name, flag.names)}")


def _wrong(flag: Flag, wanted: str, got: Any) -> UserError:
    """The error of a value that a flag does not take."""
    otherwise = f", or leave it out for {flag.default}" if flag.default not in (None, "") else ""
    return UserError(f"--{flag.name}: must be {wanted} (got {got}); give another{otherwise}")
