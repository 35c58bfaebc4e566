"""Digests: short words that change when content does, the same on every machine."""

import functools
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

# What was written under a digest keeps the algorithm, so that it is found again.
_ALGORITHMS: dict[str, Callable[[], Any]] = {
    "sha256": hashlib.sha256,
    "blake2b": hashlib.blake2b,
    "blake2b-128": functools.partial(hashlib.blake2b, digest_size=16),
}


def digest(parts: Iterable[Any], algorithm: str = "sha256", *, length: int = 32) -> str:
    """The digest of bytes, given one part after the other.

    Args:
      parts: bytes, or arrays of contiguous memory; where they are cut does not count.
      algorithm: "sha256", "blake2b" (of 512 bits) or "blake2b-128".
      length: of the word; the algorithm's first hexadecimal digits.

    Returns:
      The word.

    Example:
      >>> digest([b"ab", b"c"], length=8) == digest([b"abc"], length=8)
      True
      >>> digest([b"abc"], length=8)
      'ba7816bf'
    """
    found = _ALGORITHMS[algorithm]()
    for part in parts:
        found.update(part)
    return found.hexdigest()[:length]


def file_digest(path: Path, algorithm: str = "sha256", *, length: int = 32) -> str:
    """The digest of a file's bytes, which are read in blocks; see `digest`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, _ALGORITHMS[algorithm]).hexdigest()[:length]


def short_digest(data: bytes) -> int:
    """A digest of 64 bits, for tables of many that are held in memory."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
