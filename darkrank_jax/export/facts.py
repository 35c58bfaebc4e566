"""The facts that an exported network or a gallery carries, as JSON text, and their schema."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from darkrank_jax.digests import digest
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.embedding_files import TEXTS

# Of this layout of facts.
SCHEMA = 1
# Under which a file that holds texts by name has the facts, and the hash of what it holds.
KEY, CHECKSUM = TEXTS["facts"], TEXTS["checksum"]
_LARGEST_SIDE = 2**14


def write_facts(facts: Mapping[str, Any]) -> dict[str, str]:
    """Facts as texts by name, which is what files of other formats can hold."""
    return {KEY: json.dumps(facts)}


def parse_facts(path: Path, texts: Mapping[str, Any] | None, *more: str) -> dict[str, Any]:
    """Facts from the texts of a file, checked field by field.

    Args:
      path: of the file, for the error.
      texts: as `write_facts` gave them, or whatever a stranger's file has.
      *more: names of fields that must be there beside those of every file.

    Returns:
      The facts.

    Raises:
      UserError: the file is not one of this package's, of a later version, or a field is missing
        or not of its kind.
    """
    try:
        facts = json.loads((texts or {})[KEY])
        schema = facts["schema"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(
            f"{path}: does not say how it is used, so --mode export or embed did not write it, or "
            "it is damaged; give a file that one of them wrote"
        ) from None
    if schema != SCHEMA:
        raise UserError(f"{path}: is of layout {schema!r}, and this version reads {SCHEMA}; update")
    for name in (*_EVERY, *more):
        is_right, kind = _FIELDS[name]
        if name not in facts:
            raise UserError(f"{path}: facts.{name} must be {kind} (got nothing); write it again")
        if not is_right(facts[name]):
            said = repr(facts[name])[:60]
            raise UserError(f"{path}: facts.{name} must be {kind} (got {said}); write it again")
    channels = facts["image_shape"][2]
    for name in ("mean", "std"):
        if isinstance(facts[name], list) and len(facts[name]) not in (1, channels):
            raise UserError(
                f"{path}: facts.{name} must be one number for each of {channels} channels (got "
                f"{len(facts[name])}); write the file again"
            )
    return facts


def checksum(content: bytes, facts: Mapping[str, Any]) -> str:
    """The digest of an exported file's content and its facts, to tell damage and mixed files by."""
    return digest([json.dumps(facts, sort_keys=True).encode(), content], "blake2b-128")


def _is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    """Whether a value is a positive integer of ordinary size."""
    return type(value) is int and 0 < value <= 2**24


def _is_scale(value: Any) -> bool:
    """Whether a value is a number, or one for each channel."""
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(map(_is_number, values))


def _is_shape(value: Any) -> bool:
    """Whether a value is height, width and channels."""
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(_is_count(side) and side <= _LARGEST_SIDE for side in value)
        and value[2] in (1, 3)
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


# Field -> its check, and what it must be.
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (_is_text, "a text"),
    "model": (lambda x: isinstance(x, dict) and _is_text(x.get("name")), "an object with a name"),
    "mean": (_is_scale, "a number or a list of numbers"),
    "std": (_is_scale, "a number or a list of numbers"),
    "image_shape": (_is_shape, "[height, width, 1 or 3]"),
    "center_crop": (lambda x: _is_number(x) and 0 <= x <= 1, "a number from 0 to 1"),
    "embedding_dim": (_is_count, "a positive integer"),
    "fingerprint": (_is_text, "a text"),
    "compatible_with": (lambda x: isinstance(x, list) and all(map(_is_text, x)), "texts"),
    "place": (_is_text, "a text"),
}
_EVERY = tuple(name for name in _FIELDS if name != "place")
