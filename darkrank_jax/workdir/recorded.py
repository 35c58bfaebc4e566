"""A finished run without its config: as run.json has it, or checked against a config."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from darkrank_jax.config.description import read_description
from darkrank_jax.config.run import Run
from darkrank_jax.errors import UserError
from darkrank_jax.workdir.run_file import read_facts


def whole_run(workdir: Path) -> Run:
    """The run that was trained in a workdir, with teacher and baseline.

    Args:
      workdir: that holds a run.json.

    Returns:
      The run; its `evaluation` is that of the run itself.

    Raises:
      UserError: there is none, or another version of this package wrote it.
    """
    return _whole(read_facts(workdir)["run"], workdir)


def check_measured(
    workdir: Path, run: Run, mend: str = "leave out --config, or give its own"
) -> None:
    """Refuses a config whose networks or images are not those of the run in a workdir.

    How they were trained is not compared: it changes nothing of what is there.

    Args:
      workdir: that holds a run.json.
      run: read from a config.
      mend: what the line tells to do.

    Raises:
      UserError: names the first field that differs.
    """
    found, expected = (_flat(_measured(each)) for each in (whole_run(workdir), run))
    for field in sorted(found.keys() | expected.keys()):
        if found.get(field) != expected.get(field):
            raise UserError(
                f"{workdir}: holds a run whose {field} is {found.get(field)}, not "
                f"{expected.get(field)}; {mend}"
            )


def as_recorded(workdir: Path, run: Run, mend: str) -> Run:
    """The run in a workdir, measured as a config says and with files where it says that they lie.

    Args:
      workdir: see `check_measured`.
      run: see there.
      mend: see there.

    Returns:
      The run.

    Raises:
      UserError: see there.
    """
    check_measured(workdir, run, mend)
    return dataclasses.replace(_placed(whole_run(workdir), run), evaluation=run.evaluation)


def _placed(recorded: Run, given: Run) -> Run:
    """A run as it was trained, with the paths of another one that sees the same."""
    weights, data = recorded.weights, recorded.data
    teacher, members = recorded.teacher, recorded.ensemble
    return dataclasses.replace(
        recorded,
        checkpoint=recorded.checkpoint and (given.checkpoint or recorded.checkpoint),
        weights=dataclasses.replace(weights, path=given.weights.path or weights.path),
        data=dataclasses.replace(data, path=given.data.path or data.path),
        teacher=_placed(teacher, given.teacher) if teacher and given.teacher else None,
        ensemble={name: _placed(each, given.ensemble[name]) for name, each in members.items()},
    )


def _whole(described: Mapping[str, Any], where: Path) -> Run:
    """A run, its teacher and the members of its ensemble."""
    # A member of an ensemble still has it.
    described = {name: value for name, value in described.items() if name != "evaluation"}
    run = read_description(described, where)
    teacher, members = described["teacher"], described["ensemble"]
    return dataclasses.replace(
        run,
        teacher=_whole(teacher, where) if teacher else None,
        ensemble={name: _whole(member, where) for name, member in members.items()},
        baseline=described["baseline"],
    )


def _measured(run: Run) -> dict[str, Any]:
    """What the embeddings of a run follow from, and the images that it is measured on."""
    seen = _seen(run)
    images = {"source": run.data.source, "options": run.data.options}
    return seen | {"seed": run.seed, "data": seen["data"] | images}


def _seen(run: Run) -> dict[str, Any]:
    """What a network makes of an image, and its teachers."""
    members = {name: _seen(member) for name, member in run.ensemble.items()}
    return {
        "model": {} if members or run.embeddings else run.model,
        "data": {name: getattr(run.data, name) for name in ("image_size", "mean", "std")},
        "combine": run.combine if members else "",
        "ensemble": members,
        "teacher": _seen(run.teacher) if run.teacher else {},
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """By dotted name, as JSON has them."""
    flat = {}
    for name, value in json.loads(json.dumps(values)).items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
