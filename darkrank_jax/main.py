"""`python -m darkrank_jax.main --config FILE [--config.field=value] [--workdir DIR] [--mode MODE]`.

MODE is one of darkrank_jax/modes.py; those that go by what lies in a workdir need no config.
Turns flags into one call. Errors of the user's end in one line on stderr and exit code 2.
"""

import logging
import sys
from pathlib import Path
from typing import Any

import jax
from absl import flags
from absl import logging as absl_logging
from ml_collections import ConfigDict, config_flags

from darkrank_jax.data import cache_folder
from darkrank_jax.errors import UserError, nearest
from darkrank_jax.modes import MODES, SHARED, mode_flags, run_mode
from darkrank_jax.training.interruption import Interrupted
from darkrank_jax.training.processes import join, leave
from darkrank_jax.training.run_config import read_run

_DEFINE = {str: flags.DEFINE_string, int: flags.DEFINE_integer, bool: flags.DEFINE_boolean}


def main(argv: list[str]) -> int:
    """Runs one command line; returns its exit code."""
    try:
        values, rest = parse(argv)
        config = values.config if "config" in values else None
        run = None if config is None else read_run(config.to_dict())
        _keep_compiled()
        if values.mode in SHARED:
            join(values.coordinator, values.processes, values.process)
        elif values.coordinator:
            raise UserError(f"--coordinator: --mode {values.mode} is for one process; leave it out")
        run_mode(
            values.mode,
            run,
            values.workdir or (config and f"runs/{Path(_config_path(argv)).stem}") or "",
            {name: values[name].value for name in mode_flags()},
            rest,
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        return 128 + interrupted.signal
    return 0


def console() -> None:
    """The command `darkrank`, which is `python -m darkrank_jax.main`."""
    # As there, so that a config may import another one that lies here.
    sys.path.insert(0, "")
    # Orbax and TFDS log their inner workings, and traces of errors that they raise as well.
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.getLogger("orbax").setLevel(logging.CRITICAL)
    # Warnings of ours are lines for a person, in every mode.
    ours = logging.getLogger("darkrank_jax")
    ours.addHandler(logging.StreamHandler())
    ours.propagate = False
    leave(main(sys.argv))


def _keep_compiled() -> None:
    """Lets JAX find again what it has compiled before, unless its user says where, or not to."""
    config: Any = jax.config
    if config.jax_enable_compilation_cache and not config.jax_compilation_cache_dir:
        config.update("jax_compilation_cache_dir", str(cache_folder("compiled")))


def parse(argv: list[str]) -> tuple[flags.FlagValues, list[str]]:
    """The flags, with the config file's own fields among them, and what is no flag."""
    path = _config_path(argv)
    if path and not Path(path).is_file():
        raise UserError(f"--config: no file {path!r}; give one of configs/*.py")
    try:
        if path:
            _check_overrides(_flags([argv[0], f"--config={path}"])[0].config, argv)
        return _flags(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, SyntaxError) as error:
        raise UserError(" ".join(str(error).split())) from error


def _flags(argv: list[str]) -> tuple[flags.FlagValues, list[str]]:
    """Absl's flags of a command line, and what is no flag."""
    values = flags.FlagValues()
    if _config_path(argv):
        config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    flags.DEFINE_string("workdir", "", "Where a run lies; runs/NAME.", flag_values=values)
    flags.DEFINE_enum("mode", "train", list(MODES), "What to do.", flag_values=values)
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, or auto.", flag_values=values)
    flags.DEFINE_integer("processes", None, "How many there are.", flag_values=values)
    flags.DEFINE_integer("process", None, "Which of them this is, from 0.", flag_values=values)
    for name, kind in mode_flags().items():
        _DEFINE[kind](name, None, "Of some modes; see README.md.", flag_values=values)
    return values, values(argv)[1:]


def _config_path(argv: list[str]) -> str:
    """The value of --config, in either of its two spellings; empty where it is not given."""
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        if argument == "--config":
            return following
        if argument.startswith("--config="):
            return argument.removeprefix("--config=")
    return ""


def _check_overrides(config: ConfigDict, argv: list[str]) -> None:
    """Refuses `--config.field=value` for a field that the config file does not have."""
    for argument in argv:
        if not argument.startswith("--config."):
            continue
        path = argument.removeprefix("--").split("=")[0]
        holder = config
        for name in path.split(".")[1:]:
            if not isinstance(holder, ConfigDict) or name not in holder:
                valid = list(holder) if isinstance(holder, ConfigDict) else []
                raise UserError(
                    f"--{path}: no field {name!r} in the config; {nearest(name, valid)}"
                )
            holder = holder[name]


if __name__ == "__main__":
    console()
