"""What a workdir says of the run in it: run.json, and whether another run may go on there."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from darkrank_jax.errors import UserError
from darkrank_jax.training.processes import leads
from darkrank_jax.training.run_config import Run, describe, read_description

# Fields that change where or how fast a run goes, not what comes out.
_FREE = (
    "teacher",
    "baseline",
    "checkpoint",
    "remat",
    "profile",
    "log_every",
    "keep_checkpoints",
    "expected_minutes",
)
_FREE_DATA = ("path", "num_threads")


def claim(workdir: Path, run: Run, *, channels: int, num_classes: int) -> None:
    """Writes run.json, or refuses a workdir that holds another run.

    Args:
      workdir: made when it is missing.
      run: that trains there.
      channels: of an image.
      num_classes: classes of the training split.

    Raises:
      UserError: the workdir cannot be written, or the run in it differs; names the first field
        that does.
    """
    facts = {"run": describe(run), "channels": channels, "num_classes": num_classes}
    facts = json.loads(json.dumps(facts))
    path = workdir / "run.json"
    with writing(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        if path.exists():
            check_same(workdir, run)
        if leads():
            replace_text(path, json.dumps(facts, indent=1) + "\n")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns a failed write, such as one on a full disk, into the user's line."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror or error}); make room and give the same "
            "command again, or give another --workdir"
        ) from error


def replace_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all: a run that is killed here leaves what was there before."""
    beside = path.with_name(f"{path.name}.part")
    beside.write_text(text)
    os.replace(beside, path)


def is_workdir(path: Path) -> bool:
    """Whether a run was trained in a folder."""
    return (path / "run.json").is_file()


def read_facts(workdir: Path) -> dict[str, Any]:
    """What run.json says: "run", "channels", "num_classes"."""
    path = workdir / "run.json"
    if not path.exists():
        raise UserError(f"{workdir}: has no run.json, so no run was trained there; train it first")
    return json.loads(path.read_text())


def recorded_run(workdir: Path) -> Run:
    """The run that was trained in a workdir, without its teacher and baseline.

    Args:
      workdir: that holds a run.json.

    Raises:
      UserError: there is none, or another version of this package wrote it.
    """
    return read_description(read_facts(workdir)["run"], workdir)


def check_same(
    workdir: Path, run: Run, mend: str = "give another --workdir, or delete this one to start again"
) -> None:
    """Refuses a run whose result would differ from that of the run in the workdir.

    Args:
      workdir: that holds a run.json.
      run: that should go on there.
      mend: what the line tells to do.

    Raises:
      UserError: names the first field that differs.
    """
    found = _flat(read_facts(workdir)["run"])
    expected = _flat(json.loads(json.dumps(describe(run))))
    for field in sorted(found.keys() | expected.keys()):
        if found.get(field) != expected.get(field):
            raise UserError(
                f"{workdir}: holds a run whose {field} is {found.get(field)}, not "
                f"{expected.get(field)}; {mend}"
            )


def _flat(run: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields that decide the result, by dotted name."""
    flat = {}
    for name, value in run.items():
        free = _FREE if not prefix else _FREE_DATA if prefix == "data." else ()
        if name in free:
            continue
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
