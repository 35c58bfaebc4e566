"""Limits on one picture, and on the memory of all pictures that are decoded at once."""

import functools
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from darkrank_jax.errors import UserError

MAX_MEGAPIXELS = 100
# Passes over the pixels that a JPEG file may take; usual progressive files have 10.
_MOST_SCANS = 100
# Megapixels that the scans of a file may take together, as a multiple of those of a picture.
_MOST_PASSES = 20
# MiB of decoded pixels that the threads of a process take at once, unless the environment says
# otherwise; and bytes of a picture that are not counted.
_MEMORY, _MOST_MIB, _FEW_BYTES = "DARKRANK_DECODE_MIB", 2048, 2**25

_START_OF_SCAN, _END = 0xDA, 0xD9
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
# A marker that a length follows, or the end; others are parts of the compressed pixels.
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")


def check_size(width: int, height: int, scans: int, max_megapixels: float) -> None:
    """Refuses a picture that takes absurd memory or time.

    Args:
      width: of the picture in its file.
      height: likewise.
      scans: passes over the pixels; see `count_scans`.
      max_megapixels: the most millions of pixels.

    Raises:
      ValueError: one of the numbers is too large.
    """
    megapixels = width * height / 1e6
    if megapixels > max_megapixels:
        raise ValueError(
            f"it has {megapixels:.1f} megapixels, data.options.max_megapixels is {max_megapixels}"
        )
    if scans > _MOST_SCANS or (scans > 1 and scans * megapixels > _MOST_PASSES * max_megapixels):
        more = " or more" if scans > _MOST_SCANS else ""
        raise ValueError(f"it has {scans}{more} scans of {megapixels:.1f} megapixels")


def count_scans(file: bytes) -> int:
    """Passes over the pixels of a JPEG file, each of which may take time and no bytes.

    Args:
      file: of JPEG.

    Returns:
      1 for a usual file, else the scans, up to one more than are allowed.
    """
    place, progressive, components = 2, True, 0
    while place + 9 < len(file) and file[place] == 0xFF:
        marker = file[place + 1]
        if marker in _FRAMES:
            progressive, components = marker in _PROGRESSIVE, file[place + 9]
        if marker == _START_OF_SCAN:
            if not progressive and file[place + 4] >= components:
                return 1
            break
        place += 2 + int.from_bytes(file[place + 2 : place + 4])
    # The two bytes may be part of something else, so there are no more scans than that.
    count = file.count(b"\xff\xda", place)
    return count if count <= _MOST_SCANS else _count_markers(file, place)


def _count_markers(file: bytes, place: int) -> int:
    """Scans from a place on; what lies within a segment does not count."""
    scans = 0
    while scans <= _MOST_SCANS and (found := _MARKER.search(file, place)):
        marker, place = found[0][1], found.end()
        if marker == _END:
            break
        scans += marker == _START_OF_SCAN
        place += int.from_bytes(file[place : place + 2])
    return scans


class Budget:
    """Bytes that several threads take together; a thread that wants more than are left waits.

    Args:
      most: bytes; who wants more has all of them.
      few: bytes that are not counted, so that ordinary pictures do not wait for each other.
    """

    def __init__(self, most: int, few: int):
        self._most, self._few, self._taken = most, few, 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Takes bytes for the time of a block."""
        if size < self._few:
            yield
            return
        size = min(size, self._most)
        with self._changed:
            self._changed.wait_for(lambda: self._taken + size <= self._most)
            self._taken += size
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()


@functools.cache
def decoding_budget() -> Budget:
    """The budget of all threads of this process; a worker has its own, and one thread.

    Raises:
      UserError: the environment variable DARKRANK_DECODE_MIB is not a whole number above 0.
    """
    stated = os.environ.get(_MEMORY, str(_MOST_MIB))
    if not (stated.isascii() and stated.isdigit() and int(stated) > 0):
        raise UserError(
            f"{_MEMORY}: must be a whole number of MiB above 0 (got {stated!r}); change or unset "
            "the environment variable"
        )
    return Budget(int(stated) << 20, _FEW_BYTES)
