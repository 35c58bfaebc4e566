"""What the command line can do: each mode is a function, and its keyword arguments are flags."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from darkrank_jax.errors import UserError
from darkrank_jax.export.command import export_run
from darkrank_jax.export.search import embed_images, search
from darkrank_jax.training import runs
from darkrank_jax.training.plan import plan
from darkrank_jax.training.prepare import prepare
from darkrank_jax.training.recorded import check_measured
from darkrank_jax.training.run_config import Run

# Each takes `workdir`. Those that take `run` need a config, unless it may be None; the others go by
# what lies there. Those that take `runs` are given several workdirs that lie elsewhere. Their first
# lines, and the lines of their flags, are what `--help` prints.
MODES: dict[str, Callable[..., None]] = {
    "prepare": prepare,
    "plan": plan,
    "train": runs.train_and_report,
    "eval": runs.evaluate_and_report,
    "compare": runs.compare_and_report,
    "export": export_run,
    "embed": embed_images,
    "search": search,
}
_ELSE = ", or --help for all that there is"
# Those that several processes can do as one.
SHARED = ("train", "eval")


def run_mode(
    mode: str, run: Run | None, workdir: str, flags: Mapping[str, Any], rest: Sequence[str]
) -> None:
    """Does what the command line asks for.

    Args:
      mode: in MODES.
      run: of the config, if one was given.
      workdir: where the run lies; empty where neither flag nor config said so.
      flags: by name, those of other modes too; None for one that was not given.
      rest: what is no flag.

    Raises:
      UserError: a config or a flag is missing, a flag is of another mode, the workdir holds
        another run than the config's; and from the mode.
    """
    function = MODES[mode]
    takes = inspect.signature(function).parameters
    if rest and "runs" not in takes:
        raise UserError(f"{rest[0]}: no flag; give --config, --config.FIELD, --workdir or --mode")
    given = {name: value for name, value in flags.items() if value is not None}
    own = own_flags(mode)
    for name in given.keys() - own.keys():
        raise UserError(f"--{name}: is no flag of --mode {mode}; leave it out")
    for name, parameter in own.items():
        if name not in given and parameter.default is inspect.Parameter.empty:
            raise UserError(f"--{name}: missing; --mode {mode} needs it")
    if "runs" in takes and run is not None:
        raise UserError(f"--config: is not for --mode {mode}; give the workdirs of runs alone")
    if "runs" in takes:
        function([*map(Path, rest)], Path(workdir or "runs/compared"))
        return
    if run is None and needs_config(mode):
        raise UserError(f"--config: missing; give --config configs/NAME.py{_ELSE}")
    if not workdir:
        raise UserError(f"--workdir: missing; --mode {mode} needs that of a run{_ELSE}")
    if "run" in takes:
        function(run, Path(workdir), **given)
        return
    if run is not None:
        check_measured(Path(workdir), run)
    function(Path(workdir), **given)


def needs_config(mode: str) -> bool:
    """Whether a mode cannot go by what lies in a workdir."""
    run = inspect.signature(MODES[mode]).parameters.get("run")
    return run is not None and run.annotation is Run


def mode_flags() -> dict[str, type]:
    """The flags of all modes, and the type of each.

    Example:
      >>> mode_flags()["nearest"]
      <class 'int'>
    """
    return {name: p.annotation for mode in MODES for name, p in own_flags(mode).items()}


def own_flags(mode: str) -> dict[str, inspect.Parameter]:
    """The flags of one mode, which are its keyword arguments."""
    parameters = inspect.signature(MODES[mode]).parameters.items()
    return {name: p for name, p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
