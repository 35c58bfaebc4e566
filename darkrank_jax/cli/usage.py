"""What `--help` prints, by the table of the modes."""

import textwrap

from darkrank_jax.cli.modes import MODES, Flag, Mode
from darkrank_jax.configs import names

_WIDTH = 80
_NEEDS = {"run": "--config CONFIG", "config": "--config CONFIG", "runs": "DIR DIR ..."}
_HEAD = f"""usage: darkrank [--config CONFIG] [--config.FIELD=VALUE ...]
                [--workdir DIR] [--mode MODE] [flags of the mode]

Distils a large network that embeds images into a small one: trains a teacher, a
student alone and a distilled student, evaluates them and writes a report; then
exports, embeds and searches. `darkrank` is `python -m darkrank_jax.main`.

  darkrank --config demo
      built-in characters, no download, some minutes on a CPU; it ends with
      runs/demo/report.html
  darkrank --config own_images --config.data.path=DIR --workdir runs/mine
      DIR is a folder of class folders, an archive of one, or a table
  darkrank --mode export --workdir runs/mine
      ONNX, StableHLO and safetensors of the student

  --config CONFIG       a run: a file, a module, or one of the names below
  --config.FIELD=VALUE  of one of its fields; configs/default.py states them all
  --workdir DIR         folder of the run; runs/NAME of the config by default
  --mode MODE           what to do; train by default
  --coordinator ADDRESS HOST:PORT of process 0, or auto; for several processes,
                        of which {" and ".join(n for n in MODES if MODES[n].shared)} alone take any
  --processes N         how many there are
  --process I           which of them this is, from 0
  --help, --version
"""


def usage() -> str:
    """Every mode with its flags and their defaults, in lines of at most 80 columns."""
    named = textwrap.fill(
        ", ".join(names()), _WIDTH, initial_indent=4 * " ", subsequent_indent=4 * " "
    )
    head = f"{_HEAD}\nConfigs by name:\n{named}\n\nModes, and the flags of each:\n"
    return "\n".join([head, *(_mode(name, mode) for name, mode in MODES.items())]).rstrip()


def _mode(name: str, mode: Mode) -> str:
    """A mode: what it does, what it needs, its flags."""
    lines = [
        f"--mode {name} {_NEEDS.get(mode.takes, '--workdir DIR')}",
        textwrap.indent(textwrap.fill(mode.text, 76), "    "),
    ]
    return "\n".join([*lines, *map(_flag, mode.flags)]) + "\n"


def _flag(flag: Flag) -> str:
    """A flag with its default, and below it what it is."""
    if flag.kind is bool:
        head = f"--{flag.name}"
    elif flag.default is None:
        head = f"--{flag.name}={flag.name.upper()} (needed)"
    else:
        head = f"--{flag.name}={flag.default or flag.name.upper()}"
    text = textwrap.fill(flag.text, _WIDTH, initial_indent=10 * " ", subsequent_indent=10 * " ")
    return f"      {head}\n{text}"
