"""A finished run without its config: as run.json has it, or checked against a config."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from darkrank_jax.config.description import describe, read_description
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
    workdir: Path, described: Mapping[str, Any], advice: str = "leave out --config, or give its own"
) -> None:
    """Refuses a config whose networks or images are not those of the run in a workdir.

    How they were trained is not compared: it changes nothing of what is there.

    Args:
      workdir: that holds a run.json.
      described: the run that a config states, as `describe` gives it.
      advice: what to do, at the end of the message.

    Raises:
      UserError: names the first field that differs.
    """
    recorded = describe(whole_run(workdir))
    found, expected = (_flat(_measured(each)) for each in (recorded, described))
    for field in sorted(found.keys() | expected.keys()):
        if found.get(field) != expected.get(field):
            raise UserError(
                f"{workdir}: holds a run whose {field} is {found.get(field)}, not "
                f"{expected.get(field)}; {advice}"
            )


def as_recorded(workdir: Path, run: Run, advice: str) -> Run:
    """The run in a workdir, measured as a config says and with files where it says that they lie.

    Args:
      workdir: see `check_measured`.
      run: see there.
      advice: see there.

    Returns:
      The run.

    Raises:
      UserError: see there.
    """
    check_measured(workdir, describe(run), advice)
    placed = _placed(read_facts(workdir)["run"], describe(run))
    return dataclasses.replace(_whole(placed, workdir), evaluation=run.evaluation)


def _placed(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A described run as it was trained, with the paths of another one that sees the same."""
    moved = {
        holder: {**recorded[holder], "path": given[holder]["path"] or recorded[holder]["path"]}
        for holder in ("weights", "data")
    }
    checkpoint = recorded["checkpoint"] and (given["checkpoint"] or recorded["checkpoint"])
    teacher = given["teacher"] and recorded["teacher"]
    teacher = _placed(teacher, given["teacher"]) if teacher else {}
    members = recorded["ensemble"].items()
    ensemble = {name: _placed(each, given["ensemble"][name]) for name, each in members}
    parts = {"checkpoint": checkpoint, "teacher": teacher, "ensemble": ensemble}
    return {**recorded, **moved, **parts}


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


def _measured(run: Mapping[str, Any]) -> dict[str, Any]:
    """Of a described run, what its embeddings follow from and the images that it is measured on."""
    seen = _seen(run)
    images = {name: run["data"][name] for name in ("source", "options")}
    return seen | {"seed": run["seed"], "data": seen["data"] | images}


def _seen(run: Mapping[str, Any]) -> dict[str, Any]:
    """What a network makes of an image, and its teachers."""
    members = {name: _seen(member) for name, member in run["ensemble"].items()}
    return {
        "model": {} if members or run["embeddings"] else run["model"],
        "data": {name: run["data"][name] for name in ("image_size", "mean", "std")},
        "combine": run["combine"] if members else "",
        "ensemble": members,
        "teacher": _seen(run["teacher"]) if run["teacher"] else {},
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
