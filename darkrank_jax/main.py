"""`python -m darkrank_jax.main --config FILE [--config.field=value] [--workdir DIR] [--mode MODE]`.

MODE is one of darkrank_jax/modes.py; those that go by what lies in a workdir need no config;
`--help` lists them. Turns flags into one call. Errors of the user's end in one line on stderr and
exit code 2.
"""

import logging
import sys
from pathlib import Path
from typing import Any

import jax
from absl import flags
from absl import logging as absl_logging
from ml_collections import config_flags

import darkrank_jax
from darkrank_jax.config_file import add_options, load_config
from darkrank_jax.data import cache_folder
from darkrank_jax.errors import UserError
from darkrank_jax.modes import MODES, SHARED, mode_flags, run_mode
from darkrank_jax.training.interruption import Interrupted
from darkrank_jax.training.processes import join, leave
from darkrank_jax.training.run_config import read_run
from darkrank_jax.usage import usage

_HELP = {"--help", "-h", "--helpfull"}
_DEFINE = {str: flags.DEFINE_string, int: flags.DEFINE_integer, bool: flags.DEFINE_boolean}


def main(argv: list[str]) -> int:
    """Runs one command line; returns its exit code."""
    if not _HELP.isdisjoint(argv[1:]):
        print(usage())
        return 0
    if "--version" in argv[1:]:
        print(f"darkrank_jax {darkrank_jax.__version__}")
        return 0
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
            values.workdir or (config and f"runs/{Path(_config_path(argv)[0]).stem}") or "",
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
    path, rest = _config_path(argv)
    config = load_config(path) if path else None
    if config is None and (field := next((x for x in rest if x.startswith("--config.")), "")):
        raise UserError(f"{field}: is a field of no config; give --config configs/NAME.py as well")
    values = flags.FlagValues()
    if config is not None:
        add_options(config, rest)
    try:
        if config is not None:
            config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=rest)
        _define(values)
        return values, values(rest)[1:]
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, SyntaxError) as error:
        raise UserError(" ".join(str(error).split())) from error


def _define(values: flags.FlagValues) -> None:
    """Defines the flags that are no field of a config; `--help` says what they are."""
    flags.DEFINE_string("workdir", "", "", flag_values=values)
    flags.DEFINE_enum("mode", "train", list(MODES), "", flag_values=values)
    flags.DEFINE_string("coordinator", None, "", flag_values=values)
    flags.DEFINE_integer("processes", None, "", flag_values=values)
    flags.DEFINE_integer("process", None, "", flag_values=values)
    for name, kind in mode_flags().items():
        _DEFINE[kind](name, None, "", flag_values=values)


def _config_path(argv: list[str]) -> tuple[str, list[str]]:
    """The value of --config, in either of its two spellings, and the rest of a command line."""
    for place, argument in enumerate(argv):
        if argument == "--config":
            return "".join(argv[place + 1 : place + 2]), argv[:place] + argv[place + 2 :]
        if argument.startswith("--config="):
            return argument.removeprefix("--config="), argv[:place] + argv[place + 1 :]
    return "", argv


if __name__ == "__main__":
    console()
