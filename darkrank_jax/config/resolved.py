"""What a command line comes to: the config of its file with the fields that its flags change."""

import json
import threading
from collections.abc import Mapping
from typing import Any

from darkrank_jax.config.file import load_file, override
from darkrank_jax.config.location import find_config
from darkrank_jax.digests import digest

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
      config: name, path or module of a config.
      fields: dotted field -> value.

    Returns:
      Plain nested values.

    Raises:
      UserError: there is no such config or field, or a field does not take the value.

    Example:
      >>> found = resolve("tests/tiny_config.py", {"data.image_size": 24, "baseline": {}})
      >>> found["data"]["image_size"], found["teacher"]["data"]["image_size"], found["baseline"]
      (24, 16, {})
    """
    with _loading:
        values, _ = override(load_file(find_config(config)), flags_of(fields))
    return values.to_dict()


def digest_of(values: Mapping[str, Any]) -> str:
    """A word that changes when a config does.

    Example:
      >>> digest_of({"steps": 3, "seed": 0}) == digest_of({"seed": 0, "steps": 3})
      True
    """
    return digest([json.dumps(values, sort_keys=True).encode()], length=16)


def teacher_fields(config: str, student: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a run of a student's teacher alone out of the student's config file.

    Args:
      config: name, path or module of that file.
      student: of `resolve`, with a teacher.

    Returns:
      Dotted field -> value, whatever fields were changed to make the student.
    """
    teacher, written = student["teacher"] | {"hook": student["hook"]}, resolve(config, {})
    alone = {"teacher": teacher["teacher"], "baseline": {}}
    return alone | {
        name: value
        for name, value in teacher.items()
        if name not in _BESIDE and value != written[name]
    }
