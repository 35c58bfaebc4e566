"""What `--help` prints, by the signatures and docstrings of the modes."""

import inspect
import re
import textwrap

from darkrank_jax.modes import MODES, SHARED, needs_config, own_flags

_WIDTH = 80
_HEAD = f"""usage: darkrank [--config FILE] [--config.FIELD=VALUE ...] [--workdir DIR]
                [--mode MODE] [flags of the mode]

Trains a teacher, a student alone and a distilled student, and puts the student
to work. `darkrank` is `python -m darkrank_jax.main`.

  --config FILE         a run, such as configs/demo.py
  --config.FIELD=VALUE  of one of its fields; configs/default.py states them all
  --workdir DIR         where the run lies; runs/NAME of the config by default
  --mode MODE           what to do; train by default
  --coordinator ADDRESS HOST:PORT of process 0, or auto; for several processes,
                        of which {" and ".join(SHARED)} alone know
  --processes N         how many there are
  --process I           which of them this is, from 0
  --help, --version

Modes, and the flags of each:
"""


def usage() -> str:
    """Every mode with its flags and their defaults, in lines of at most 80 columns."""
    return "\n".join([_HEAD, *map(_mode, MODES)]).rstrip()


def _mode(name: str) -> str:
    """A mode: what it does, what it needs, its flags."""
    function = MODES[name]
    doc = inspect.getdoc(function) or ""
    takes = inspect.signature(function).parameters
    if "runs" in takes:
        needs = "DIR DIR ..."
    else:
        needs = "--config FILE" if needs_config(name) else "--workdir DIR"
    lines = [
        f"--mode {name} {needs}",
        textwrap.indent(textwrap.fill(doc.splitlines()[0], 76), "    "),
    ]
    lines += [
        _flag(flag, parameter, _argument(doc, flag)) for flag, parameter in own_flags(name).items()
    ]
    return "\n".join(lines) + "\n"


def _flag(name: str, parameter: inspect.Parameter, said: str) -> str:
    """A flag with its default, and below it what it is."""
    if parameter.annotation is bool:
        head = f"--{name}"
    elif parameter.default is inspect.Parameter.empty:
        head = f"--{name}={name.upper()} (needed)"
    else:
        head = f"--{name}={parameter.default or name.upper()}"
    text = textwrap.fill(said, _WIDTH, initial_indent=10 * " ", subsequent_indent=10 * " ")
    return f"      {head}\n{text}"


def _argument(doc: str, name: str) -> str:
    """What a docstring says of an argument."""
    found = re.search(rf"^  {name}: (.*(?:\n    .*)*)", doc, re.MULTILINE)
    return " ".join(found[1].split()) if found else ""
