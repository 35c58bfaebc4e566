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
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from absl import logging as absl_logging

from darkrank_jax.cli.arguments import check_fields_once, find_flags, is_field, read_flag
from darkrank_jax.cli.large_pages import restart_with_large_pages
from darkrank_jax.cli.modes import MODES, SHARED, all_flags, function_of
from darkrank_jax.cli.usage import usage, usage_of
from darkrank_jax.config.location import find_config, name_of
from darkrank_jax.errors import UserError, nearest
from darkrank_jax.runs.finished import check_finished
from darkrank_jax.terminal import PrintableFormatter, printable, printable_stream
from darkrank_jax.version import __version__

if TYPE_CHECKING:
    from ml_collections import ConfigDict

_HELP = {"--help", "-h", "--helpfull"}
# Flags that say what is done and where, and what each is if it is not given.
_PLACES = (("mode", "train"), ("config", ""), ("workdir", ""))


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
    if _HELP.isdisjoint(argv[1:]) and "--version" in argv[1:]:
        print(f"darkrank_jax {__version__}")
        return 0
    try:
        if _HELP.isdisjoint(argv[1:]):
            return _run(parse(argv))
        _print_help([argument for argument in argv[1:] if argument not in _HELP])
        return 0
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


def _print_help(arguments: Sequence[str]) -> None:
    """Prints what all modes do, or the one that is given."""
    texts = find_flags(arguments, all_flags())[0].get("mode")
    page = usage_of(read_flag(SHARED["mode"], texts)) if texts else usage()
    try:
        print(page, flush=True)
    except BrokenPipeError:
        # Of `darkrank --help | head`; Python flushes the stream once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parse(argv: list[str]) -> Command:
    """Checks all of a command line that can be checked without its config.

    Args:
      argv: the program's name and the arguments.

    Returns:
      The command; `read_config` reads the config that it names.

    Raises:
      UserError: a flag or a mode is unknown, missing, of another mode, given twice, or has a wrong
        value; or a folder of a run is not there.
    """
    texts, rest = find_flags(argv[1:], all_flags())
    shared = {name: read_flag(SHARED[name], texts.pop(name)) for name in SHARED if name in texts}
    mode, config, workdir = (shared.get(*each) for each in _PLACES)
    config = config and find_config(config, "--config")
    check_fields_once(rest)
    _check_rest(mode, config, rest)
    own = {flag.name: flag for flag in MODES[mode].flags}
    for name in texts.keys() - own.keys():
        modes = " or ".join(each for each in MODES if name in [x.name for x in MODES[each].flags])
        raise UserError(f"--{name}: is a flag of --mode {modes}, not of {mode}; leave it out")
    given = {name: read_flag(own[name], each) for name, each in texts.items()}
    _check_processes(mode, shared)
    _check_given(mode, {*shared, *given})
    _check_folders(mode, config, workdir, rest)
    if config and not workdir and MODES[mode].takes != "runs":
        workdir = f"runs/{name_of(config)}{'_sweep' if MODES[mode].takes == 'config' else ''}"
    processes = (shared.get("coordinator"), shared.get("processes"), shared.get("process"))
    return Command(mode, config, rest, workdir, given, processes)


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


def _check_rest(mode: str, config: str, rest: Sequence[str]) -> None:
    """Refuses what is neither a flag, nor a field of the config, nor a workdir to compare."""
    takes_runs = MODES[mode].takes == "runs"
    if config and takes_runs:
        raise UserError(f"--config: is not for --mode {mode}; give the workdirs of runs alone")
    for before, argument in zip(["", *rest], rest, strict=False):
        name = argument.lstrip("-").partition("=")[0]
        # The value of a field may stand alone.
        is_value = is_field(before) and "=" not in before
        if is_field(argument) and not config:
            raise UserError(
                f"{argument}: is a field of no config; give --config NAME or FILE as well"
            )
        if argument.startswith("-") and name[:1].isalpha() and not is_field(argument):
            known = [f"--{each}" for each in all_flags()]
            raise UserError(f"--{name}: unknown flag; {nearest(f'--{name}', known)}")
        if not (is_field(argument) or is_value or takes_runs):
            raise _surplus(argument)


def _check_processes(mode: str, shared: Mapping[str, Any]) -> None:
    """Refuses several processes where one does the work, and numbers that do not fit together."""
    given = [f"--{name}" for name in ("coordinator", "processes", "process") if name in shared]
    if given and not MODES[mode].shared:
        raise UserError(f"{', '.join(given)}: --mode {mode} is for one process; leave it out")
    if {"processes", "process"} <= shared.keys() and shared["process"] >= shared["processes"]:
        raise UserError(
            f"--process: must be less than --processes {shared['processes']} (got "
            f"{shared['process']}); the processes are numbered from 0"
        )


def _check_given(mode: str, given: Collection[str]) -> None:
    """Refuses a mode without all that it needs."""
    takes = MODES[mode].takes
    needed = ["config"] if takes in ("run", "config") else []
    if takes == "workdir" or (takes == "run or workdir" and "config" not in given):
        needed = ["workdir"]
    needed += [flag.name for flag in MODES[mode].flags if flag.default is None]
    missing = [f"--{name}" for name in needed if name not in given]
    if missing:
        raise UserError(
            f"{', '.join(missing)}: must be given with --mode {mode} (got nothing); --mode {mode} "
            "--help has an example"
        )


def _check_folders(mode: str, config: str, workdir: str, rest: Sequence[str]) -> None:
    """Refuses runs that are not there, before anything slow is imported."""
    takes = MODES[mode].takes
    if takes == "runs":
        check_finished([*map(Path, rest)])
    wanted = takes == "workdir" or (takes == "run or workdir" and not config)
    if wanted and not Path(workdir).exists():
        file = ", or a file of --mode export" if mode in ("embed", "search") else ""
        raise UserError(
            f"--workdir: must be the folder of a trained run{file} (got {workdir}, which does not "
            "exist); give another, or train it first"
        )


def _surplus(argument: str) -> UserError:
    """The error of an argument that is no flag."""
    if argument in MODES:
        return UserError(f"{argument}: is not a flag; did you mean --mode {argument}?")
    return UserError(
        f"{argument}: is not a flag; give --config, --config.FIELD, --workdir or --mode"
    )


def keep_compiled() -> None:
    """Lets JAX find again what it has compiled before, unless its user says where, or not to."""
    import jax

    from darkrank_jax.data import cache_folder

    config: Any = jax.config
    if config.jax_enable_compilation_cache and not config.jax_compilation_cache_dir:
        config.update("jax_compilation_cache_dir", str(cache_folder("compiled")))


if __name__ == "__main__":
    console()
