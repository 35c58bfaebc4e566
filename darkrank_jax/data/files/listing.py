"""What a source found: a line for each image file, without its pixels."""

import re
import unicodedata
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from darkrank_jax.data.files.parts import PARTS, UNGIVEN
from darkrank_jax.data.images import EncodedFiles, Files, pack_names
from darkrank_jax.data.split import UNKNOWN_CAMERA

_DIGITS = re.compile(r"(\d+)")


class Listing(NamedTuple):
    """Image files of a source.

    Attributes:
      files: their bytes and names.
      labels: int32 [n], 0 to len(class_names) - 1.
      class_names: of the classes, in natural order.
      parts: int8 [n], place in PARTS, or UNGIVEN.
      cameras: int32 [n], UNKNOWN_CAMERA where that of an image is not known; None where none is.
    """

    files: EncodedFiles
    labels: np.ndarray
    class_names: tuple[str, ...]
    parts: np.ndarray
    cameras: np.ndarray | None


class Line(NamedTuple):
    """One image of a listing in the making: `part` is in PARTS or empty, `camera` may be empty."""

    name: str
    label: str
    part: str = ""
    camera: str = ""


def gather(
    lines: Iterable[Line], *, read: Callable[[str], bytes], where: Path, digest: str
) -> Listing:
    """Makes a listing of lines, in little more memory than their names take.

    Args:
      lines: of the images; read once.
      read: the bytes of a name.
      where: what the names are relative to, for people.
      digest: of the source.

    Returns:
      The listing.
    """
    labels, parts, cameras = array("i"), array("b"), array("i")
    # The same word may be written in several ways.
    label_codes: dict[str, int] = {}
    raw_codes: dict[str, int] = {}
    camera_codes: dict[str, int] = {}

    def names() -> Iterable[str]:
        for line in lines:
            if line.label not in raw_codes:
                code = label_codes.setdefault(clean(line.label), len(label_codes))
                raw_codes[line.label] = code
            labels.append(raw_codes[line.label])
            parts.append(PARTS.index(line.part) if line.part else UNGIVEN)
            known = camera_codes.setdefault(line.camera, len(camera_codes)) if line.camera else None
            cameras.append(UNKNOWN_CAMERA if known is None else known)
            yield line.name

    name = pack_names(names())
    found, ranks = list(label_codes), natural_order(label_codes).astype(np.int32)
    return Listing(
        # A field that is a function counts as a method to type checkers.
        Files(read, name, str(where), digest),  # pyright: ignore[reportArgumentType]
        ranks[np.array(labels, np.int64)],
        tuple(found[index] for index in np.argsort(ranks)),
        np.array(parts, np.int8),
        np.array(cameras, np.int32) if camera_codes else None,
    )


def natural_order(names: Iterable[str]) -> np.ndarray:
    """The rank of each name, with numbers in names by their value.

    Example:
      >>> natural_order(["b", "a10", "a9"]).tolist()
      [2, 1, 0]
    """
    listed = list(names)
    keys = [[_natural(x) for x in _DIGITS.split(name)] for name in listed]
    ranks = np.empty(len(listed), np.int64)
    ranks[sorted(range(len(listed)), key=lambda i: (keys[i], listed[i]))] = np.arange(len(listed))
    return ranks


def clean(name: str) -> str:
    r"""A name as text that can be written anywhere: composed, bytes of no encoding as escapes.

    Example:
      >>> clean("e\u0301"), print(clean("caf\udce9"))
      caf\xe9
      ('é', None)
    """
    whole = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", whole)


def _natural(text: str) -> tuple[int, str]:
    """Orders runs of digits by their value, however long, and after other text."""
    if not text.isdecimal():
        return -1, text
    digits = text.lstrip("0")
    return len(digits), digits
