"""What a command line comes to: the config of its file with the fields that its flags change."""

import hashlib
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from darkrank_jax import main as command_line
from darkrank_jax.config.reader import read_run
from darkrank_jax.errors import UserError
from darkrank_jax.runs.splits import Splits

ROOT = Path(__file__).parent.parent
# Fields of a run that say nothing of the network alone.
_BESIDE = ("teacher", "baseline", "evaluation")
# Config files are modules, and several threads would load them under one name.
_loading = threading.Lock()


def flags_of(fields: Mapping[str, Any]) -> list[str]:
    """Overrides as a command line has them; a mapping replaces the whole field.

    Example:
      >>> flags_of({"steps": 3, "baseline": {}})
      ['--config.steps=3', '--config.baseline={}']
    """
    return [f"--config.{field}={value}" for field, value in fields.items()]


def resolve(config: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The whole config of a run.

    Args:
      config: path of a config file, from the repository's root.
      fields: dotted field -> value.

    Returns:
      Plain nested values.

    Raises:
      UserError: there is no such file or field.

    Example:
      >>> found = resolve("tests/tiny_config.py", {"data.image_size": 24, "baseline": {}})
      >>> found["data"]["image_size"], found["teacher"]["data"]["image_size"], found["baseline"]
      (24, 16, {})
    """
    with _loading:
        argv = ["run", f"--config={ROOT / config}", *flags_of(fields)]
        values, _ = command_line.read_config(command_line.parse(argv))
    assert values is not None
    return values.to_dict()


def digest(values: Mapping[str, Any]) -> str:
    """A word that changes when a config does.

    Example:
      >>> digest({"steps": 3, "seed": 0}) == digest({"seed": 0, "steps": 3})
      True
    """
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def teacher_fields(config: str, student: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a run of a student's teacher alone out of the student's config file.

    Args:
      config: path of that file, from the repository's root.
      student: of `resolve`, with a teacher.

    Returns:
      Dotted field -> value, whatever fields were changed to make the student.
    """
    teacher, written = student["teacher"], resolve(config, {})
    alone = {"teacher": teacher["teacher"], "baseline": {}}
    return alone | {
        name: value
        for name, value in teacher.items()
        if name not in _BESIDE and value != written[name]
    }


def check_data(values: Mapping[str, Any]) -> None:
    """Refuses a config that cannot be run, or whose images are not there, before any run starts.

    Args:
      values: of `resolve`.

    Raises:
      UserError: from the config or from the source of its images.
    """
    Splits()[read_run(values).data]


@contextmanager
def refusing() -> Iterator[None]:
    """Turns what the user can mend into a line and exit code 2, as the main command does."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
