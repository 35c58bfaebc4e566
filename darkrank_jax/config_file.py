"""Config files of users: loaded as the programs they are, and their fields overridden by flags."""

import importlib.util
import itertools
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ml_collections import ConfigDict, FieldReference

from darkrank_jax.errors import UserError, nearest
from darkrank_jax.training.options import known_options

# Types for which a flag has a syntax of its own; others are Python literals.
_TYPES = (bool, float, int, str)


# Before the others: what pyright makes of every ConfigDict depends on the first use that it meets.
def _holder(config: ConfigDict, field: str, holders: Sequence[str]) -> ConfigDict:
    """The part of a config that a field is in."""
    holder = config
    for place, name in enumerate(holders):
        if name not in holder:
            _refuse(field, name, holder)
        holder = holder[name]
        if not isinstance(holder, ConfigDict):
            within = ".".join(holders[: place + 1])
            raise UserError(
                f"--config.{field}: {within} is a value and has no fields; set it whole"
            )
    return holder


def load_config(path: str) -> ConfigDict:
    """Runs a config file and calls its `get_config()`.

    Args:
      path: of the file.

    Returns:
      The config.

    Raises:
      UserError: there is no such file, or whatever it raises, with the line of the file.
    """
    if not Path(path).is_file():
        raise UserError(f"--config: no file {path!r}; give one of configs/*.py")
    spec = importlib.util.spec_from_file_location(f"config_file_{Path(path).stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"--config: {path} is no Python file; give one of configs/*.py")
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses and the like look for what a file of theirs defines.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        config = module.get_config()
    except UserError:
        raise
    # A user's program may raise anything.
    except Exception as error:
        raise UserError(_told(path, error)) from error
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"{path}: get_config() gives {type(config).__name__}; return a "
            "ml_collections.ConfigDict"
        )
    return config


def add_options(config: ConfigDict, argv: Sequence[str]) -> None:
    """Lets `--config.field=value` state options that the config leaves at their defaults.

    Args:
      config: gets a field, without a value yet, for each such option.
      argv: the command line.

    Raises:
      UserError: a field that neither the config nor what takes its options knows.
    """
    given = _overrides(argv)
    for field in given:
        *holders, name = field.split(".")
        holder = _holder(config, field, holders)
        if name in holder:
            continue
        within = ".".join(holders)
        known = known_options(within, lambda other: given.get(other) or _value(config, other))
        if name not in known:
            _refuse(field, name, {*holder, *known})
        kind = known[name] if known[name] in _TYPES else object
        unlocked: Any = holder.unlock()
        unlocked[name] = FieldReference(None, field_type=kind)


def _overrides(argv: Sequence[str]) -> dict[str, str]:
    """Field -> value of each `--config.field=value`, or `--config.field value`."""
    given = {}
    for argument, following in itertools.zip_longest(argv, argv[1:], fillvalue=""):
        if argument.startswith("--config."):
            field, stated, value = argument.removeprefix("--config.").partition("=")
            given[field] = value if stated else following
    return given


def _refuse(field: str, name: str, valid: Iterable[str]) -> NoReturn:
    """Says that a field is not there, and what is."""
    valid = list(valid)
    mend = nearest(name, valid) if valid else "there is none; state it in the config file"
    raise UserError(f"--config.{field}: no field {name!r} in the config; {mend}")


def _value(config: ConfigDict, field: str) -> Any:
    """The value of a dotted field; None where it is not stated."""
    found: Any = config
    for name in field.split("."):
        if not isinstance(found, ConfigDict) or name not in found:
            return None
        found = found[name]
    return found


def _told(path: str, error: Exception) -> str:
    """What a config file raised, in one line with the line of the file."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}; mend the line"
    frames = list(traceback.walk_tb(error.__traceback__))
    lines = [line for frame, line in frames if frame.f_code.co_filename == path]
    where = f"{path}, line {lines[-1]}" if lines else path
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    # ConfigDict's own line lists everything that it holds.
    values = frames[-1][0].f_locals
    holder, name = values.get("self"), values.get("attribute", values.get("key"))
    if isinstance(error, AttributeError | KeyError) and isinstance(holder, ConfigDict):
        said = f"no field {name!r}; {nearest(str(name), map(str, holder))}"
    return f"{where}: {' '.join(said.split())}"
