"""`python -m darkrank_jax.main --config FILE [--config.field=value] [--workdir DIR] [--mode MODE]`.

MODE is one of darkrank_jax/modes.py; modes that read a workdir need no config;
`--help` lists them. Turns flags into one call. Errors of the user's end in one line on stderr and
exit code 2.
"""

import os
import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` looks in the current folder first, where anybody's numpy.py may lie. In a
    # checkout the package itself is found there: last then.
    _here = sys.path.pop(0)
    if _here == os.path.dirname(os.path.dirname(os.path.abspath(__file__))):
        sys.path.append(_here)

from darkrank_jax.extras import MissingExtra, check_train

try:
    check_train("darkrank")
except MissingExtra as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from absl import flags
from absl import logging as absl_logging

from darkrank_jax.cli.large_pages import restart_with_large_pages
from darkrank_jax.cli.modes import MODES, flag_types, function_of
from darkrank_jax.cli.usage import usage
from darkrank_jax.config.location import find_config, name_of
from darkrank_jax.errors import UserError, nearest
from darkrank_jax.terminal import PrintableFormatter, printable, printable_stream
from darkrank_jax.version import __version__

if TYPE_CHECKING:
    from ml_collections import ConfigDict

_HELP = {"--help", "-h", "--helpfull"}
_OR_HELP = ", or --help for all that there is"
_DEFINE = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_boolean,
    tuple: flags.DEFINE_multi_string,
}
# Flags of every mode, and the type of each.
_OF_ALL = {"workdir": str, "mode": str, "coordinator": str, "processes": int, "process": int}


class Command(NamedTuple):
    """A command line that was checked without the config that it names.

    Attributes:
      mode: in MODES.
      config: path of the config file or name of its module, or empty.
      rest: arguments that only the config can tell apart: its fields, and workdirs of runs.
      workdir: as given, or by the name of the config; or empty.
      flags: of the mode, those that were given.
      processes: --coordinator, --processes and --process.
    """

    mode: str
    config: str
    rest: list[str]
    workdir: str
    flags: dict[str, Any]
    processes: tuple[str | None, int | None, int | None]


def main(argv: list[str]) -> int:
    """Runs one command line; returns its exit code."""
    if not _HELP.isdisjoint(argv[1:]):
        try:
            print(usage(), flush=True)
        except BrokenPipeError:
            # Of `darkrank --help | head`; Python flushes the stream once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if "--version" in argv[1:]:
        print(f"darkrank_jax {__version__}")
        return 0
    try:
        return _run(parse(argv))
    except UserError as error:
        line = printable(str(error))
        print(f"error: {line}", file=sys.stderr)
        if "darkrank_jax.distributed.processes" in sys.modules:
            from darkrank_jax.distributed.processes import announce

            announce(line)
        return 2


def console() -> None:
    """The command `darkrank`, which is `python -m darkrank_jax.main`."""
    restart_with_large_pages()
    sys.stdout = printable_stream(sys.stdout)
    # Orbax and TFDS log their inner workings, and traces of errors that they raise as well.
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.getLogger("orbax").setLevel(logging.CRITICAL)
    _silence_asyncio()
    # Warnings of ours are lines for a person, in every mode.
    ours = logging.getLogger("darkrank_jax")
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter())
    ours.addHandler(handler)
    ours.propagate = False
    code = main(sys.argv)
    if "jax" not in sys.modules:
        sys.exit(code)
    from darkrank_jax.distributed.processes import leave

    leave(code)


def _silence_asyncio() -> None:
    """Leaves out what asyncio prints of a save that failed, hundreds of lines of traces.

    Orbax alone uses it, and `training.checkpoints` raises the error of the save.
    """
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    shown = sys.unraisablehook

    def show(found: Any) -> None:
        # Of a loop for which no files were left, or that tensorstore calls after its end.
        of_loop = getattr(found.object, "__qualname__", "").startswith("BaseEventLoop.")
        if not of_loop and str(found.exc_value) != "Event loop is closed":
            shown(found)

    sys.unraisablehook = show


def parse(argv: list[str]) -> Command:
    """Checks all of a command line that can be checked without its config.

    Args:
      argv: the program's name and the arguments.

    Returns:
      The command; `read_config` reads the config that it names.

    Raises:
      UserError: a flag or a mode is unknown, missing, of another mode, or has a wrong value.
    """
    config, rest = _config_path(argv)
    values = flags.FlagValues()
    for name, kind in {**flag_types(), **_OF_ALL}.items():
        _DEFINE[kind](name, None, "", flag_values=values)
    try:
        _, *rest = values(rest, known_only=True)
    except (flags.Error, TypeError, ValueError) as error:
        raise UserError(" ".join(str(error).split())) from error
    given: dict[str, Any] = {name: values[name].value for name in values if values[name].present}
    given |= {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    coordinator, processes, process = (given.pop(n, None) for n in [*_OF_ALL][2:])
    mode, workdir = given.pop("mode", "train"), given.pop("workdir", "")
    config = config and find_config(config, "--config")
    if mode not in MODES:
        raise UserError(f"--mode: unknown mode {mode!r}; {nearest(mode, MODES)}")
    if config and not workdir and MODES[mode].takes != "runs":
        workdir = f"runs/{name_of(config)}{'_sweep' if MODES[mode].takes == 'config' else ''}"
    _check_rest(mode, config, rest, list(values))
    _check_flags(mode, given)
    if coordinator and not MODES[mode].shared:
        raise UserError(f"--coordinator: --mode {mode} is for one process; leave it out")
    if not config and MODES[mode].takes in ("run", "config"):
        raise UserError(
            f"--config: must be a config, NAME or FILE (got nothing); give one{_OR_HELP}"
        )
    if not workdir and MODES[mode].takes != "runs":
        raise UserError(
            f"--workdir: must be that of a run for --mode {mode} (got nothing); give one{_OR_HELP}"
        )
    return Command(mode, config, rest, workdir, given, (coordinator, processes, process))


def read_config(command: Command) -> "tuple[ConfigDict | None, list[str]]":
    """The config that a command names, with the fields that it changes; and what is no flag.

    Raises:
      UserError: the file fails, or has no such field, or a field does not take the value.
    """
    if not command.config:
        return None, command.rest
    from darkrank_jax.config.file import load_file, override

    return override(load_file(command.config), command.rest)


def _run(command: Command) -> int:
    """Does what a command asks for; returns the exit code."""
    config, rest = read_config(command)
    if rest and MODES[command.mode].takes != "runs":
        raise _surplus(rest[0])
    from darkrank_jax.config.description import describe
    from darkrank_jax.config.reader import read_run
    from darkrank_jax.distributed.processes import join
    from darkrank_jax.distributed.signals import Interrupted
    from darkrank_jax.workdir.recorded import check_measured

    run = None if config is None else read_run(config.to_dict())
    keep_compiled()
    takes, function = MODES[command.mode].takes, function_of(command.mode)
    if MODES[command.mode].shared:
        join(*command.processes)
    workdir = Path(command.workdir)
    try:
        if takes == "runs":
            function([*map(Path, rest)], Path(command.workdir or "runs/compared"))
        elif takes == "config":
            function(command.config, _fields(command, config), workdir, **command.flags)
        elif takes == "workdir":
            if run is not None:
                check_measured(workdir, describe(run))
            function(workdir, **command.flags)
        else:
            function(run, workdir, **command.flags)
    except Interrupted as interrupted:
        print(printable(str(interrupted)), file=sys.stderr)
        return 128 + interrupted.signal
    return 0


def _fields(command: Command, config: "ConfigDict | None") -> dict[str, str]:
    """The fields that a command changes, which are handed on to runs of their own."""
    from darkrank_jax.config.file import given_fields
    from darkrank_jax.config.resolved import resolve

    fields = given_fields(command.rest)
    if config is None or resolve(command.config, fields) != config.to_dict():
        raise UserError(f"{' '.join(command.rest)}: write each as --config.FIELD=VALUE")
    return fields


def _check_rest(mode: str, config: str, rest: list[str], known: list[str]) -> None:
    """Refuses what is neither a flag, nor a field of the config, nor a workdir to compare."""
    for argument in rest:
        name = argument.lstrip("-").partition("=")[0]
        is_flag = argument.startswith("-") and name[:1].isalpha()
        if is_flag and name.startswith(("config.", "noconfig.")):
            if not config:
                raise UserError(
                    f"{argument}: is a field of no config; give --config NAME or FILE as well"
                )
        elif is_flag:
            raise UserError(
                f"--{name}: unknown flag; {nearest(name, [*known, 'config'])}{_OR_HELP}"
            )
    if config and MODES[mode].takes == "runs":
        raise UserError(f"--config: is not for --mode {mode}; give the workdirs of runs alone")
    if rest and not config and MODES[mode].takes != "runs":
        raise _surplus(rest[0])


def _check_flags(mode: str, given: dict[str, Any]) -> None:
    """Refuses flags of another mode, and a mode without the flags that it needs."""
    own = {flag.name: flag for flag in MODES[mode].flags}
    for name in given.keys() - own.keys():
        raise UserError(f"--{name}: is no flag of --mode {mode}; leave it out")
    for name, flag in own.items():
        if flag.default is None and name not in given:
            raise UserError(f"--{name}: must be given with --mode {mode} (got nothing)")


def _surplus(argument: str) -> UserError:
    """The error of an argument that is no flag."""
    return UserError(f"{argument}: no flag; give --config, --config.FIELD, --workdir or --mode")


def _config_path(argv: list[str]) -> tuple[str, list[str]]:
    """The value of --config, in either of its two spellings, and the rest of a command line."""
    for place, argument in enumerate(argv):
        if argument == "--config":
            return "".join(argv[place + 1 : place + 2]), argv[:place] + argv[place + 2 :]
        if argument.startswith("--config="):
            return argument.removeprefix("--config="), argv[:place] + argv[place + 1 :]
    return "", argv


def keep_compiled() -> None:
    """Lets JAX find again what it has compiled before, unless its user says where, or not to."""
    import jax

    from darkrank_jax.data import cache_folder

    config: Any = jax.config
    if config.jax_enable_compilation_cache and not config.jax_compilation_cache_dir:
        config.update("jax_compilation_cache_dir", str(cache_folder("compiled")))


if __name__ == "__main__":
    console()
