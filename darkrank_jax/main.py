"""`python -m darkrank_jax.main --config FILE [--config.field=value] [--workdir DIR] [--mode MODE]`.

MODE is train or eval; `--mode compare RUN RUN ... [--workdir DIR]` needs no config.
Turns flags into one call. Errors of the user's end in one line on stderr and exit code 2.
"""

import logging
import sys
from pathlib import Path

from absl import flags
from absl import logging as absl_logging
from ml_collections import ConfigDict, config_flags

from darkrank_jax.errors import UserError, nearest
from darkrank_jax.training import runs
from darkrank_jax.training.interruption import Interrupted
from darkrank_jax.training.prepare import prepare
from darkrank_jax.training.run_config import read_run

MODES = {
    "train": runs.train_and_report,
    "eval": runs.evaluate_and_report,
    "prepare": prepare,
}
COMPARE = "compare"


def main(argv: list[str]) -> int:
    """Runs one command line; returns its exit code."""
    try:
        if _value(argv, "--mode") == COMPARE:
            values, rest = _parse(argv)
            runs.compare_and_report([*map(Path, rest)], Path(values.workdir or "runs/compared"))
        else:
            values = _parse_run(argv)
            workdir = Path(values.workdir or f"runs/{Path(_value(argv, '--config')).stem}")
            MODES[values.mode](read_run(values.config.to_dict()), workdir)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        return 128 + interrupted.signal
    return 0


def _parse_run(argv: list[str]) -> flags.FlagValues:
    """Reads the flags of a run, with the config file's own fields as flags."""
    path = _value(argv, "--config")
    if not path:
        raise UserError("--config: missing; give --config configs/NAME.py")
    if not Path(path).is_file():
        raise UserError(f"--config: no file {path!r}; give one of configs/*.py")
    _check_overrides(_parse([argv[0], f"--config={path}"])[0].config, argv)
    values, rest = _parse(argv)
    if rest:
        raise UserError(f"{rest[0]}: no flag; give --config, --config.FIELD, --workdir or --mode")
    return values


def _parse(argv: list[str]) -> tuple[flags.FlagValues, list[str]]:
    """Absl's flags of a command line, and what is no flag."""
    values = flags.FlagValues()
    if _value(argv, "--mode") != COMPARE:
        config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    flags.DEFINE_string("workdir", "", "Where it writes; runs/NAME.", flag_values=values)
    flags.DEFINE_enum("mode", "train", [*MODES, COMPARE], "What to do.", flag_values=values)
    try:
        return values, values(argv)[1:]
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, SyntaxError) as error:
        raise UserError(" ".join(str(error).split())) from error


def _value(argv: list[str], flag: str) -> str:
    """The value of a flag, in either of its two spellings, before the flags are read."""
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        if argument == flag:
            return following
        if argument.startswith(f"{flag}="):
            return argument.removeprefix(f"{flag}=")
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
    # Orbax and TFDS log their inner workings at the level of information.
    absl_logging.set_verbosity(absl_logging.ERROR)
    logging.getLogger("orbax").setLevel(logging.ERROR)
    sys.exit(main(sys.argv))
