"""Files of a folder, a zip or a tar archive: their names, and their bytes where they lie.

Archives are read in place and never unpacked, so no entry of theirs can write anywhere. Those that
look as if they tried are refused all the same: the same archive is unpacked elsewhere.
"""

import bz2
import contextlib
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from darkrank_jax.data.cache import cache_folder, replacing_cached
from darkrank_jax.data.files.entry_names import check_compression, slashed
from darkrank_jax.data.files.folders import is_file, list_files
from darkrank_jax.data.files.zip_members import Member, member_blocks, member_of
from darkrank_jax.digests import digest, short_digest
from darkrank_jax.errors import UserError
from darkrank_jax.files import read_error

# Images are compressed already; an archive that grows by more is no archive of images.
_MOST_GROWTH = 100
# Below this size an archive may grow as it likes.
_HARMLESS = 100 * 2**20
_MOST_OF_ONE = 2**30
_TAR_SUFFIXES = (".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")
_BLOCK = 2**20
# Bytes of the list of a zip, a file of which takes 46 and its name, and ten times that in memory.
_MOST_LIST = 2**27
# Of the end of a zip: a record and a comment.
_END_OF_ZIP = 22 + 2**16
_UNPACK = "unpack it and give the folder"
# First bytes of a compressed file -> what opens it.
_COMPRESSIONS: dict[bytes, Any] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
_BROKEN = (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError)


class Entries(NamedTuple):
    """Files somewhere.

    Attributes:
      names: with slashes, relative to the folder or as the archive has them.
      read: the bytes of the file of a name; called by several threads at once.
      digest: changes when a file does.
    """

    names: list[str]
    read: Callable[[str], bytes]
    digest: str


def open_entries(path: Path) -> Entries:
    """Lists a folder or an archive.

    Args:
      path: a folder, a .zip, a .tar or a compressed .tar. The last is decompressed first, beside
        other things that can be made again (`cache_folder`), since it cannot be read at random.

    Returns:
      Its files.

    Raises:
      UserError: it is missing, damaged or of another kind, or an entry is a link, lies outside the
        archive, or is of absurd size.
    """
    if path.is_dir():
        names = list_files(path)
        return Entries(names, *listed_files(path, names, str(path.resolve())))
    if not path.exists():
        raise UserError(f"{path}: must exist; give a folder, a .zip or a .tar as data.path")
    if not is_file(path):
        raise UserError(f"{path}: must be a folder or a file (got a pipe or a device)")
    try:
        if zipfile.is_zipfile(path):
            return _zip(path)
        if path.name.lower().endswith(_TAR_SUFFIXES):
            return _compressed_tar(path)
    except _BROKEN as error:
        raise _damaged(path, error) from error
    if path.suffix.lower() == ".zip":
        raise UserError(f"{path}: is no whole zip archive; copy or fetch it again")
    raise UserError(f"{path}: is no folder, .zip or .tar; unpack it and give the folder")


def listed_files(
    folder: Path, names: Iterable[str], start: str
) -> tuple[Callable[[str], bytes], str]:
    """Reads files that are as they are now.

    Args:
      folder: that the names are relative to.
      names: of the files.
      start: a word that the digest starts with.

    Returns:
      What gives the bytes of a name, or a `UserError` if the file has changed since; and a
      digest that changes when one of the files does.
    """
    keys, states = array("Q"), array("Q")

    def seen() -> Iterator[bytes]:
        yield start.encode()
        for name in map(os.fsencode, names):
            state = file_state(folder / os.fsdecode(name))
            keys.append(short_digest(name))
            states.append(short_digest(state))
            yield name + state

    found = digest(seen(), "blake2b")
    order = np.argsort(np.array(keys), kind="stable")
    listed = (np.array(keys)[order], np.array(states)[order])
    return partial(_read_listed, folder, *listed), found


def _read_listed(folder: Path, keys: np.ndarray, states: np.ndarray, name: str) -> bytes:
    """The bytes of a file of a folder, whose names and states are kept as 8 bytes each."""
    place = int(np.searchsorted(keys, np.uint64(short_digest(os.fsencode(name)))))
    return read_file(folder / name, lambda state: short_digest(state) == int(states[place]))


def file_state(path: Path) -> bytes:
    """Size and time of a file; a dangling link has none, and is met when it is read."""
    try:
        return _state(path.stat())
    except (OSError, ValueError):
        return b"missing"


def _state(found: os.stat_result) -> bytes:
    return f"{found.st_size} {found.st_mtime_ns}".encode()


def read_beside(folder: Path, name: str) -> bytes:
    """The bytes of a file of a folder."""
    return read_file(folder / name)


def read_file(path: Path, is_same: Callable[[bytes], bool] | None = None) -> bytes:
    """The bytes of a file.

    Args:
      path: of it.
      is_same: whether a state is that of the file as it was listed; see `file_state`.

    Raises:
      UserError: it cannot be read, is not a regular file, is of absurd size, or changes.
    """
    with _opened(path, is_same) as (file, size):
        if size > _MOST_OF_ONE:
            raise UserError(f"{path}: has {size:,} bytes; leave it out")
        return _read(path, file, size)


@contextmanager
def _opened(path: Path, is_same: Callable[[bytes], bool] | None) -> Iterator[tuple[BinaryIO, int]]:
    """A file and its size, which stays as it was listed while it is open."""
    # A pipe would wait for somebody to write to it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(path, flags), "rb") as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise UserError(f"{path}: must be a regular file; leave it out")
            if is_same and not is_same(_state(before)):
                raise _changed(path)
            yield file, before.st_size
            if _state(os.fstat(file.fileno())) != _state(before):
                raise _changed(path)
    except OSError as error:
        raise read_error(path, error) from error


def _read(path: Path, file: BinaryIO, size: int) -> bytes:
    """The next bytes of a file, as many as there must be."""
    data = file.read(size)
    if len(data) < size:
        raise _changed(path)
    return data


def _changed(path: Path) -> UserError:
    return UserError(f"{path}: has changed since it was listed; give the command again")


def _zip(path: Path) -> Entries:
    """The files of a zip archive."""
    state, size, members = file_state(path), 0, {}
    _check_list(path)
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    for entry in entries:
        mode = entry.external_attr >> 16
        _check_entry(path, entry.filename, entry.file_size, stat.S_ISLNK(mode))
        if entry.flag_bits & 1:
            raise UserError(f"{path}: {entry.filename} is encrypted; unpack it, give the folder")
        check_compression(path, entry)
        size += entry.file_size
        members[entry.filename] = member_of(entry)
    _check_growth(path, size)
    read = partial(_read_zip, path, state, members)
    names, read = slashed(path, [entry.filename for entry in entries], read)
    return Entries(names, read, state_digest(path))


def _check_list(path: Path) -> None:
    """Refuses a zip whose list of files would fill the memory."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _END_OF_ZIP))
        end = file.read()
    place = end.rfind(b"PK\5\6")
    size = int.from_bytes(end[place + 12 : place + 16], "little") if place >= 0 else 0
    # The largest number stands for more than four bytes hold.
    if size > _MOST_LIST:
        raise UserError(f"{path}: its list of files has {size:,} bytes or more; {_UNPACK}")


def _read_zip(path: Path, state: bytes, members: dict[str, Member], name: str) -> bytes:
    try:
        with _opened(path, state.__eq__) as (file, _):
            return b"".join(member_blocks(file, members[name]))
    except _BROKEN as error:
        raise _damaged(path, error) from error


def _tar(path: Path, given: Path) -> Entries:
    """The files of a tar archive that is not compressed; `given` is what the user calls it."""
    state = file_state(path)
    with path.open("rb") as file:
        places = {name: (start, size) for name, start, size in tar_entries(given, file)}
    # Of entries of one name the last counts, as where an archive is unpacked.
    names, read = slashed(given, places, partial(_read_tar, path, state, places))
    return Entries(names, read, state_digest(given))


def tar_entries(path: Path, file: Any) -> Iterator[tuple[str, int, int]]:
    """The regular files of a tar archive that is not compressed.

    Args:
      path: what a person calls it, for errors.
      file: its bytes, which can be sought; may be read in between.

    Yields:
      Name, place of the first byte in the archive, and size.

    Raises:
      UserError: an entry is a link, lies outside the archive, or is of absurd size.
      tarfile.TarError: it is damaged, or its end is missing.
    """
    with tarfile.open(fileobj=file, mode="r:") as archive:
        seen: list[tarfile.TarInfo] = vars(archive)["members"]
        for entry in archive:
            special = not (entry.isreg() or entry.isdir()) or entry.issparse()
            _check_entry(path, entry.name, entry.size, special)
            if entry.isreg():
                yield entry.name, entry.offset_data, entry.size
            # The library keeps all that it has seen.
            seen.clear()
        # The library takes any end for the end; a whole archive has an empty block there.
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("its end is missing")


def _read_tar(path: Path, state: bytes, places: dict[str, tuple[int, int]], name: str) -> bytes:
    return read_part(path, state, *places[name])


def read_part(path: Path, state: bytes, start: int, size: int) -> bytes:
    """A part of a file that is as it was listed, see `file_state`; raises `UserError` if not."""
    with _opened(path, state.__eq__) as (file, _):
        file.seek(start)
        return _read(path, file, size)


def _check_entry(path: Path, name: str, size: int, special: bool) -> None:
    """Refuses an entry that no archive of images has."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    remedy = "unpack the archive where that is safe, and give the folder"
    if posix.is_absolute() or windows.drive or windows.root or ".." in windows.parts:
        raise UserError(f"{path}: entry {name!r} lies outside the archive; {remedy}")
    if special:
        raise UserError(f"{path}: entry {name!r} is a link, sparse or no plain file; {remedy}")
    if size > _MOST_OF_ONE:
        raise UserError(f"{path}: entry {name!r} unpacks to {size:,} bytes; {remedy}")


def _check_growth(path: Path, size: int) -> None:
    """Refuses an archive that holds far more than images can be compressed by."""
    if size > max(_HARMLESS, _MOST_GROWTH * path.stat().st_size):
        raise UserError(
            f"{path}: unpacks to {size:,} bytes or more, over {_MOST_GROWTH} times its size; give "
            "an archive of images, or their folder"
        )


def _compressed_tar(path: Path) -> Entries:
    """The files of a tar archive that may be compressed, of which a plain one is kept."""
    with path.open("rb") as file:
        start = file.read(6)
    openers = [opener for magic, opener in _COMPRESSIONS.items() if start.startswith(magic)]
    if not openers:
        return _tar(path, path)
    target = cache_folder("archives") / f"{state_digest(path)}.tar"
    if target.exists():
        # One that was damaged since is made again.
        with contextlib.suppress(*_BROKEN):
            entries = _tar(target, path)
            if entries.names:
                return entries
    with replacing_cached(target) as beside, beside.open("wb") as whole:
        for block in _blocks(path, openers[0]):
            whole.write(block)
            _check_growth(path, whole.tell())
    return _tar(target, path)


def _blocks(path: Path, opener: Any) -> Iterator[bytes]:
    """The decompressed bytes of a file; its errors are those of the archive, not of the cache."""
    try:
        with opener(path, "rb") as source:
            while block := source.read(_BLOCK):
                yield block
    except _BROKEN as error:
        raise _damaged(path, error) from error


def state_digest(path: Path) -> str:
    """A digest of path, size and time of a file."""
    return digest([str(path.resolve()).encode(), file_state(path)], "blake2b")


def _damaged(path: Path, error: Exception) -> UserError:
    if isinstance(error, OSError) and error.errno:
        return read_error(path, error, "copy or fetch it again")
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"{path}: is no whole archive ({reason}); copy or fetch it again")
