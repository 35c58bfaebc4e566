"""What `--help` prints, by the table of the modes."""

import textwrap

from darkrank_jax.cli.modes import MODES, SHARED, Flag, Mode
from darkrank_jax.configs import topics

_WIDTH = 80
_NEEDS = {
    "run": "--config CONFIG",
    "config": "--config CONFIG",
    "runs": "DIR DIR ... [--workdir DIR]",
}
_VALUES = {
    "workdir": "DIR",
    "coordinator": "ADDRESS",
    "processes": "N",
    "process": "I",
}
# Where the second column of the shared flags begins.
_COLUMN = 24
_FIELD = Flag(
    "config.FIELD=VALUE",
    None,
    "sets one field of the config, such as --config.learning_rate=1e-3; all fields, with unit and "
    "meaning, are in the file of the config `default`, whose folder is printed by python -c 'from "
    "darkrank_jax.configs import FOLDER; print(FOLDER)'",
)
_CHECKED = "not needed; if it is given, it must be the config of the run in --workdir"
_HEAD = """usage: darkrank --config CONFIG [--config.FIELD=VALUE ...] [--workdir DIR]
       darkrank --mode MODE [flags of the mode]

Distils a large network that embeds images into a small one: trains a teacher, a
student alone (the baseline) and a distilled student, evaluates them and writes
a report; then exports, embeds and searches. Flags are --x VALUE or --x=VALUE.
`darkrank` is `python -m darkrank_jax.main`.

  darkrank --config demo
      built-in characters, no download, some minutes on a CPU; it ends with
      runs/demo/report.html
  darkrank --config own_images --config.data.path=DIR --workdir runs/mine
      DIR is a folder of class folders, an archive of one, or a table
  darkrank --mode export --workdir runs/mine
      ONNX, StableHLO and safetensors of the student
"""


def usage() -> str:
    """Every mode with its flags and their defaults, in lines of at most 80 columns."""
    shared = [_shared(flag) for flag in [SHARED["config"], _FIELD, *[*SHARED.values()][1:]]]
    found = {True: [], False: []}
    for name, (topic, needs_data) in topics().items():
        found[needs_data].append(f"    {name:<30}{topic}")
    configs = [
        "Configs by name that need no data:",
        *found[False],
        "Configs by name whose data lies in --config.data.path=DIR, or in the folder of",
        "the environment variable DARKRANK_DATA; the file of each says what it must hold:",
        *found[True],
    ]
    modes = [_mode(name, mode) for name, mode in MODES.items()]
    head = [_HEAD, *shared, "  --help, --version", "  --mode MODE --help    that mode alone", ""]
    return "\n".join(
        [*head, *configs, "\nModes, and the flags of each with their defaults:\n", *modes]
    ).rstrip()


def usage_of(mode: str) -> str:
    """One mode with its flags, the shared flags that it takes, and an example.

    Args:
      mode: in MODES.
    """
    own = MODES[mode]
    names = [] if own.takes == "runs" else ["config", ""]
    names += ["workdir", *(["coordinator", "processes", "process"] if own.shared else [])]
    flags = {**SHARED, "": _FIELD, "workdir": SHARED["workdir"]._replace(text=own.workdir)}
    if own.takes == "workdir":
        flags["config"] = SHARED["config"]._replace(text=_CHECKED)
    shared = [_shared(flags[name]) for name in names]
    example = f"\nExample:\n    darkrank {own.example}"
    return "\n".join([_mode(mode, own), *shared, example])


def _mode(name: str, mode: Mode) -> str:
    """A mode: what it does, what it needs, its flags."""
    needed = [f" --{flag.name} {flag.name.upper()}" for flag in mode.flags if flag.default is None]
    takes = _NEEDS.get(mode.takes, "--workdir DIR")
    lines = [f"--mode {name} {takes}{''.join(needed)}", _filled(mode.text, 4)]
    return "\n".join([*lines, *map(_flag, mode.flags)]) + "\n"


def _flag(flag: Flag) -> str:
    """A flag with its default, and below it what it is."""
    if flag.kind is bool:
        head = f"--{flag.name}"
    elif flag.default is None:
        head = f"--{flag.name}={flag.name.upper()} (needed)"
    elif isinstance(flag.default, str) and " " in flag.default:
        head = f'--{flag.name}="{flag.default}"'
    else:
        head = f"--{flag.name}={flag.default or flag.name.upper()}"
    return f"      {head}\n{_filled(flag.text, 10)}"


def _shared(flag: Flag) -> str:
    """A flag that is not of one mode, and beside it what it is."""
    value = "" if "=" in flag.name else f" {_VALUES.get(flag.name, flag.name.upper())}"
    head = f"  --{flag.name}{value}".ljust(_COLUMN)
    return head + _filled(flag.text, _COLUMN).lstrip()


def _filled(text: str, indent: int) -> str:
    """Lines of a text, indented; a word with hyphens stays whole, as flags have them."""
    space = indent * " "
    return textwrap.fill(
        text, _WIDTH, initial_indent=space, subsequent_indent=space, break_on_hyphens=False
    )
