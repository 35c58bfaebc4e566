"""NumPy's .npz and .npy files from strangers: sizes are checked before anything is read."""

import io
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from darkrank_jax.data.files.zip_members import data_start, member_blocks, member_of
from darkrank_jax.errors import UserError
from darkrank_jax.files import read_advice

# Names of the arrays in a file -> those to read; may raise `UserError`.
Choose = Callable[[list[str]], Iterable[str]]

# Arrays of more bytes are mapped and not read, where they are not compressed.
MAPPED = 64 * 2**20
# Arrays that take more memory than this share of their file are a bomb, above a harmless size.
_MOST_GROWTH = 100
_HARMLESS = 100 * 2**20
# More than NumPy reads.
_LONGEST_HEADER = 2**14
_ENCRYPTED = 1
# bz2 and lzma expand a block to any size at once, and NumPy writes neither.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_HEADERS: dict[tuple[int, int], Callable[[Any], Any]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# What a damaged archive or table makes its reader raise.
BROKEN = (
    OSError,
    ValueError,
    EOFError,
    MemoryError,
    OverflowError,
    NotImplementedError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def read_npz(path: Path, choose: Choose, advice: str) -> dict[str, np.ndarray]:
    """Reads arrays of an .npz; pickles are not opened.

    Args:
      path: of the file.
      choose: from the names of all arrays, those to read.
      advice: what to do about a damaged file, to end the error with.

    Returns:
      Name -> array.

    Raises:
      UserError: the file is missing, damaged, not an .npz, would fill the memory, or holds Python
        objects; or from `choose`.
    """
    check_regular(path, advice)
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = _members(archive)
            chosen = {name: members[name] for name in choose(list(members))}
            check_growth(path, sum(member.file_size for member in chosen.values()))
            return {name: _read_member(file, member) for name, member in chosen.items()}
    except BROKEN as error:
        raise unreadable(path, error, advice) from error


def map_npy(path: Path, advice: str) -> np.ndarray:
    """The array of an .npy file, of which a part is read when it is used.

    Args:
      path: of the file.
      advice: what to do about a damaged file, to end the error with.

    Returns:
      The array, read-only.

    Raises:
      UserError: the file is missing, damaged, not an .npy, or holds Python objects.
    """
    check_regular(path, advice)
    try:
        with path.open("rb") as file:
            shape, fortran, dtype = _header(file, path.name)
            start = file.tell()
            _check_size(path.name, shape, dtype, os.fstat(file.fileno()).st_size - start)
        order = "F" if fortran else "C"
        return np.memmap(path, dtype, "r", offset=start, shape=shape, order=order)
    except BROKEN as error:
        raise unreadable(path, error, advice) from error


def check_regular(path: Path, advice: str) -> None:
    """Refuses a path at which there is no regular file; a pipe or a device may never end."""
    if not path.exists():
        raise UserError(f"{path}: must exist; {advice}")
    if not path.is_file():
        raise UserError(f"{path}: must be a regular file; {advice}")


def check_growth(path: Path, size: int) -> None:
    """Refuses a file of which arrays of `size` bytes are to be made, if that is far more."""
    if size > max(_HARMLESS, _MOST_GROWTH * path.stat().st_size):
        raise UserError(
            f"{path}: would take {size:,} bytes of memory, over {_MOST_GROWTH} times its size; "
            "write it without compression if it is sound"
        )


def unreadable(path: Path, error: Exception, advice: str) -> UserError:
    """The error of a damaged file, in one line."""
    reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    return UserError(f"{path}: cannot be read ({reason}); {read_advice(error, advice)}")


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Name of an array -> its entry, of a kind that NumPy writes."""
    members: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".npy")
        if name in members:
            raise ValueError(f"{name} is there twice")
        if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
            raise ValueError(f"{name} is encrypted or compressed otherwise than NumPy does")
        # Raises where the name before the data is another, so that none is missed for one bit.
        archive.open(entry).close()
        members[name] = entry
    return members


def _read_member(file: BinaryIO, entry: zipfile.ZipInfo) -> np.ndarray:
    """One array, whose size both its header and the archive state; a large one is mapped."""
    name = entry.filename
    if entry.compress_type == zipfile.ZIP_STORED and entry.file_size > MAPPED:
        return _map_member(file, entry)
    data, done = np.empty(entry.file_size, np.uint8), 0
    for block in member_blocks(file, member_of(entry)):
        data[done : done + len(block)] = np.frombuffer(block, np.uint8)
        done += len(block)
    start = io.BytesIO(data[:_LONGEST_HEADER].tobytes())
    shape, fortran, dtype = _header(start, name)
    _check_size(name, shape, dtype, len(data) - start.tell())
    return np.ndarray(shape, dtype, data.data, start.tell(), order="F" if fortran else "C")


def _map_member(file: BinaryIO, entry: zipfile.ZipInfo) -> np.ndarray:
    """One array as it lies in the archive, looked at once for its checksum."""
    name, member = entry.filename, member_of(entry)
    for _ in member_blocks(file, member):
        pass
    begin = data_start(file, member)
    file.seek(begin)
    shape, fortran, dtype = _header(file, name)
    start = file.tell()
    _check_size(name, shape, dtype, entry.file_size - (start - begin))
    return np.memmap(file, dtype, "r", offset=start, shape=shape, order="F" if fortran else "C")


def _header(file: Any, name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran's order, and type of an array."""
    try:
        shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
    # What a garbled header makes NumPy's parser raise is anything.
    except Exception as error:
        raise ValueError(f"the header of {name} is damaged or of another version") from error
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects")
    return shape, fortran, dtype


def _check_size(name: str, shape: tuple[int, ...], dtype: np.dtype, held: int) -> None:
    """Refuses an array about whose bytes its header and its file do not agree."""
    size = math.prod(shape) * dtype.itemsize
    if not dtype.itemsize or min(shape, default=0) < 0 or size != held:
        raise ValueError(f"{name} states {dtype} {list(shape)} and holds {held:,} bytes")
