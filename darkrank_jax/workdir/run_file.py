"""What a workdir says of the run in it: run.json, and whether another run may go on there."""

import dataclasses
import errno
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from darkrank_jax.config.description import check_description, read_description, without_removed
from darkrank_jax.config.run import HOLDERS, Run
from darkrank_jax.distributed.processes import leads
from darkrank_jax.errors import UserError
from darkrank_jax.files import read_json, write_text, writing
from darkrank_jax.schema import check_schema

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
# Fields that change where or how fast a run goes, or what is measured, not what comes out; and
# those that name a file or a network, of which there is a digest.
_FREE = (
    "checkpoint",
    "embeddings",
    "evaluation",
    "hook",
    "remat",
    "profile",
    "log_every",
    "keep_checkpoints",
)
_FREE_DATA = ("path", "num_threads", "num_workers")
_FREE_UNLABELLED = ("path",)
_SCHEMA = {
    "run": dict,
    "channels": int,
    "num_classes": int,
    "identity?": {str: str},
    "center_crop?": float,
    "class_weights?": [str],
}
# Fields that earlier versions did not have, as they then were.
_ABSENT = {
    field.name: field.default
    for holder in (Run, *HOLDERS.values())
    for field in dataclasses.fields(holder)
    if isinstance(field.default, int | float | str)
}
_ADVICE = "give another --workdir, or delete this one to start again"


def claim(workdir: Path, facts: Mapping[str, Any]) -> None:
    """Writes run.json, or refuses a workdir that holds another run.

    A run without its earlier baseline, or with one more, is the same.

    Args:
      workdir: made when it is missing.
      facts: contents of run.json, as `read_facts` gives them back.

    Raises:
      UserError: the workdir cannot be written, or the run in it differs; names the first field
        that does.
    """
    path = workdir / "run.json"
    with writing(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        if path.exists():
            recorded = read_facts(workdir)
            alike = facts["run"] | {"baseline": recorded["run"]["baseline"]}
            check_same(workdir, alike, digests=facts["identity"])
            for name in ("channels", "num_classes"):
                if recorded[name] != facts[name]:
                    raise UserError(
                        f"{workdir}: holds a run whose data had {recorded[name]} "
                        f"{name.removeprefix('num_')} to train on, not {facts[name]}; {_ADVICE}"
                    )
        if leads():
            write_text(path, json.dumps(facts, indent=1) + "\n")


@contextmanager
def held(workdir: Path) -> Iterator[None]:
    """Keeps other processes from training in a workdir, which would delete each other's saves.

    The lock ends with the process, however that ends. Of several processes of one run the first
    one holds it. Where the filesystem, or the system, knows no locks, none is held.

    Args:
      workdir: made when it is missing.

    Raises:
      UserError: another process trains there, or the workdir cannot be written.
    """
    if not leads():
        yield
        return
    with writing(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        file = (workdir / ".lock").open("a", encoding="utf-8")
    with file:
        with writing(workdir):
            _lock(file, workdir)
        yield


def _lock(file: TextIO, workdir: Path) -> None:
    """Locks a file of the workdir until it is closed."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(
            f"{workdir}: another process trains there now; wait for its end, or give another "
            "--workdir"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def is_workdir(path: Path) -> bool:
    """Whether a run was trained in a folder."""
    return (path / "run.json").is_file()


def read_facts(workdir: Path) -> dict[str, Any]:
    """What run.json says: the run, sizes of its data, what `needs_of` gives, and "identity"."""
    path = workdir / "run.json"
    if not path.exists():
        found = "has no run.json" if workdir.exists() else "does not exist"
        raise UserError(f"{workdir}: {found}, so no run was trained there; train it first")
    advice = f"delete {workdir} and train it again"
    facts = read_json(path, advice)
    check_schema(facts, _SCHEMA, path, advice)
    check_description(facts["run"], path, advice)
    return facts


def recorded_run(workdir: Path) -> Run:
    """The run that was trained in a workdir, without its teacher and baseline.

    Args:
      workdir: that holds a run.json.

    Raises:
      UserError: there is none, or another version of this package wrote it.
    """
    return read_description(read_facts(workdir)["run"], workdir)


def check_same(
    workdir: Path,
    described: Mapping[str, Any],
    advice: str = _ADVICE,
    *,
    digests: Mapping[str, str] | None = None,
) -> None:
    """Refuses a run whose result would differ from that of the run in the workdir.

    Args:
      workdir: that holds a run.json.
      described: the run that should go on there, as `describe` gives it.
      advice: what to do, at the end of the message.
      digests: of `input_digests`; what run.json or this one does not tell of is not compared.

    Raises:
      UserError: names the first field that differs.
    """
    facts = read_facts(workdir)
    found, expected = without_removed(facts["run"]), json.loads(json.dumps(described))
    if difference := first_difference(found, expected):
        field, found, expected = difference
        raise UserError(
            f"{workdir}: holds a run whose {field} is {found}, not {expected}; {advice}"
        )
    recorded = facts.get("identity", {})
    for name, digest in (digests or {}).items():
        if recorded.get(name, digest) != digest:
            raise UserError(
                f"{workdir}: holds a run whose {name} was another than it is now; {advice}"
            )


def first_difference(found: Any, expected: Any, field: str = "") -> tuple[str, Any, Any] | None:
    """The first field that decides a run's result and differs: its dotted name, and both values.

    Args:
      found: of `describe`, or a part of it.
      expected: likewise.
      field: that holds both.

    Example:
      >>> first_difference({"a": {"x": 1}, "b": 2}, {"a": {"x": 1}, "b": 3})
      ('b', 2, 3)
    """
    if not (isinstance(found, dict) and isinstance(expected, dict)):
        return None if found == expected else (field, found, expected)
    # Of a teacher that lies elsewhere, a digest says which it is.
    if field and found and expected and (found.get("checkpoint") or expected.get("checkpoint")):
        return None
    both = found | expected
    marks = {"keep_checkpoints": _FREE, "num_threads": _FREE_DATA, "share": _FREE_UNLABELLED}
    free = next((names for mark, names in marks.items() if mark in both), ())
    for name in sorted(both.keys() - set(free)):
        inner = f"{field}.{name}" if field else name
        here, there = (each.get(name, _ABSENT.get(name)) for each in (found, expected))
        # A list or table that an earlier version did not have is an empty one.
        if None in (here, there) and (here or there) in ([], {}, None):
            continue
        if difference := first_difference(here, there, inner):
            return difference
    return None
