"""Config files of users: loaded as the programs they are, and their fields overridden by flags."""

import ast
import contextlib
import importlib
import importlib.util
import itertools
import os
import sys
import traceback
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import flags
from ml_collections import ConfigDict, FieldReference, config_flags

from darkrank_jax.config.location import find_config, importable
from darkrank_jax.config.options import known_options
from darkrank_jax.errors import UserError, nearest

# What precedes a field in errors, where a flag named it.
_FLAG = "--config."
# Types for which a flag has a syntax of its own; others are Python literals.
_TYPES = (bool, float, int, str)
_BOOLEANS: dict[str, Any] = dict.fromkeys(("true", "t", "1", "false", "f", "0"))
# Type of a field -> what reads the value of its flag, and what that must be.
_READERS: dict[type, tuple[Callable[[str], Any], str]] = {
    bool: (lambda value: _BOOLEANS[value.lower()], "true or false"),
    int: (lambda value: int(value, 0), "a whole number"),
    float: (float, "a number"),
}


# Before the others: what pyright makes of every ConfigDict depends on the first use that it meets.
def _holder(
    config: ConfigDict, field: str, holders: Sequence[str], flag: str = _FLAG
) -> ConfigDict:
    """The part of a config that a field is in."""
    holder = config
    for place, name in enumerate(holders):
        if name not in holder:
            _refuse(config, field, name, holder, flag)
        holder = holder[name]
        if not isinstance(holder, ConfigDict):
            within = ".".join(holders[: place + 1])
            raise UserError(f"{flag}{field}: {within} is a value and has no fields; set it whole")
    return holder


def load_config(source: str | os.PathLike | types.ModuleType, **overrides: Any) -> ConfigDict:
    """Loads a config, and overrides some of its fields.

    Args:
      source: path of a config file, name of one of the package's configs, or a module or its name;
        each has a function `get_config()`.
      **overrides: new values by dotted field, such as `steps=20` or `**{"teacher.steps": 20}`;
        also options that the config leaves at their defaults.

    Returns:
      The config.

    Raises:
      UserError: the file fails; or there is no such field, or it does not take the value.

    Example:
      >>> config = load_config("default", steps=20, **{"schedule.warmup_steps": 5})
      >>> config.steps, config.schedule.warmup_steps
      (20, 5)
    """
    if isinstance(source, types.ModuleType):
        config = _config_of(source, source.__file__ or source.__name__)
    else:
        config = load_file(find_config(os.fspath(source)))
    for field, value in overrides.items():
        *holders, name = field.split(".")
        holder = _holder(config, field, holders, "")
        known = known_options(".".join(holders), lambda other: _value(config, other))
        if name not in {*holder, *known}:
            _refuse(config, field, name, {*holder, *known}, "")
        if name in holder and isinstance(holder[name], ConfigDict) and isinstance(value, Mapping):
            value = ConfigDict(value)
        try:
            with holder.unlocked():
                holder[name] = value
        except (TypeError, ValueError) as error:
            raise UserError(f"{field}: {' '.join(str(error).split())}") from error
    return config


def load_file(source: str) -> ConfigDict:
    """Runs a config's file or module and calls its `get_config()`.

    Args:
      source: path of the file, or name of the module.

    Returns:
      The config.

    Raises:
      UserError: whatever it raises, with the line of the file.
    """
    try:
        # A config may import another one, or a source, that lies here.
        with importable(source):
            return _config_of(_module(source), source)
    except UserError:
        raise
    # A user's program may raise anything.
    except Exception as error:
        raise UserError(_told(source, error)) from error


def _module(source: str) -> types.ModuleType:
    """Imports a module, or runs a file as one."""
    if not Path(source).is_file():
        return importlib.import_module(source)
    spec = importlib.util.spec_from_file_location(f"config_file_{Path(source).stem}", source)
    if spec is None or spec.loader is None:
        raise UserError(f"{source}: must be a Python file; give one of configs/*.py")
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses look for what a file of theirs defines.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _config_of(module: types.ModuleType, path: str) -> ConfigDict:
    """What a config file's `get_config()` returns."""
    config = module.get_config()
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"{path}: get_config() gives {type(config).__name__}; return a "
            "ml_collections.ConfigDict"
        )
    return config


def override(config: ConfigDict, arguments: Sequence[str]) -> tuple[ConfigDict, list[str]]:
    """Overrides fields by flags `--config.field=value`.

    Args:
      config: of `load_file`.
      arguments: of a command line.

    Returns:
      The config, and the arguments that are no flags.

    Raises:
      UserError: there is no such field, or it does not take the value.
    """
    argv, values = ["darkrank", *arguments], flags.FlagValues()
    add_options(config, argv)
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
        rest = values(argv)[1:]
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, SyntaxError) as error:
        raise UserError(" ".join(str(error).split())) from error
    return values.config, rest


def add_options(config: ConfigDict, argv: Sequence[str]) -> None:
    """Lets `--config.field=value` state options that the config leaves at their defaults.

    Args:
      config: gets a field, without a value yet, for each such option.
      argv: the command line.

    Raises:
      UserError: a field that neither the config nor what takes its options knows.
    """
    given = given_fields(argv)
    for field in given:
        *holders, name = field.split(".")
        holder = _holder(config, field, holders)
        within = ".".join(holders)
        known = known_options(within, lambda other: given.get(other) or _value(config, other))
        optional = type(None) in typing.get_args(known.get(name))
        none = optional and f"--config.{field}=None" in argv
        if name not in {*holder, *known}:
            _refuse(config, field, name, {*holder, *known})
        if name not in holder or none:
            kind = known[name] if known[name] in _TYPES and not none else object
            unlocked: Any = holder.unlock()
            # A field that holds a number takes no None; a new one does.
            if name in holder:
                del unlocked[name]
            unlocked[name] = FieldReference(None, field_type=kind)
        if f"--config.{field}={given[field]}" in argv:
            _check_value(field, given[field], holder)


def _check_value(field: str, value: str, holder: ConfigDict) -> None:
    """Refuses the value of a flag that is not of the field's type, of which absl says less."""
    name = field.rpartition(".")[2]
    found: Any = holder[name]
    if isinstance(found, ConfigDict):
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            if isinstance(ast.literal_eval(value), dict):
                return
        wanted = f"give --config.{field}.name={value}" if "name" in found else "give its fields"
        raise UserError(f"--config.{field}: must be a mapping (got {value!r}); {wanted}")
    for kind, (reads, wanted) in _READERS.items():
        if holder.get_type(name) is kind:
            try:
                reads(value)
            except (ValueError, KeyError) as error:
                raise UserError(f"--config.{field}: must be {wanted} (got {value!r})") from error


def given_fields(argv: Sequence[str]) -> dict[str, str]:
    """Field -> value of each `--config.field=value`, or `--config.field value`."""
    given = {}
    for argument, following in itertools.zip_longest(argv, argv[1:], fillvalue=""):
        if argument.startswith("--config."):
            field, stated, value = argument.removeprefix("--config.").partition("=")
            given[field] = value if stated else following
    return given


def _refuse(
    config: ConfigDict, field: str, name: str, valid: Iterable[str], flag: str = _FLAG
) -> NoReturn:
    """Says that a field is not there, and where a field of that name is, or what is there."""
    valid, first, last = list(valid), field.partition(".")[0], field.rpartition(".")[2]
    near = [place for place in _fields_of(config) if place.rpartition(".")[2] == last]
    # Of the same part of the config if there is one, such as the teacher.
    near.sort(key=lambda place: (place.partition(".")[0] != first, place.count(".")))
    if near:
        advice = f"did you mean {flag}{near[0]}?"
    else:
        advice = nearest(name, valid) if valid else "there is none; state it in the config file"
    raise UserError(f"{flag}{field}: no field {name!r} in the config; {advice}")


def _fields_of(config: ConfigDict, within: str = "") -> Iterator[str]:
    """All dotted fields of a config, and those that hold fields."""
    for name, value in config.items():
        yield f"{within}{name}"
        if isinstance(value, ConfigDict):
            yield from _fields_of(value, f"{within}{name}.")


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
        return f"{error.filename}, line {error.lineno}: {error.msg}; fix the line"
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
