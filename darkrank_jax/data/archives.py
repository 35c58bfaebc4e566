"""Files of a folder, a zip or a tar archive: their names, and their bytes where they lie.

Archives are read in place and never unpacked, so no entry of theirs can write anywhere. Those that
look as if they tried are refused all the same: the same archive is unpacked elsewhere.
"""

import bz2
import gzip
import hashlib
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

from darkrank_jax.data.cache import cache_folder, replacing_cached
from darkrank_jax.data.entry_names import check_compression, slashed
from darkrank_jax.data.folders import list_files
from darkrank_jax.errors import UserError

# Images are compressed already; an archive that grows by more is no archive of images.
_MOST_GROWTH = 100
# Below this size an archive may grow as it likes.
_HARMLESS = 100 * 2**20
_MOST_OF_ONE = 2**30
_TAR_SUFFIXES = (".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")
_BLOCK = 2**20
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
      fingerprint: changes when a file does.
    """

    names: list[str]
    read: Callable[[str], bytes]
    fingerprint: str


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
        return _folder(path)
    if not path.exists():
        raise UserError(f"{path}: is missing; give a folder, a .zip or a .tar as data.path")
    try:
        if zipfile.is_zipfile(path):
            return _zip(path)
        if path.name.lower().endswith(_TAR_SUFFIXES):
            return _tar(_decompressed(path), path)
    except _BROKEN as error:
        raise _damaged(path, error) from error
    if path.suffix.lower() == ".zip":
        raise UserError(f"{path}: is no whole zip archive; copy or fetch it again")
    raise UserError(f"{path}: is no folder, .zip or .tar; unpack it and give the folder")


def _folder(path: Path) -> Entries:
    """Every file below a folder."""
    names, digest = list_files(path), hashlib.blake2b(str(path.resolve()).encode())
    for name in names:
        digest.update(os.fsencode(name) + file_stamp(path / name))
    return Entries(names, partial(read_beside, path), digest.hexdigest())


def file_stamp(path: Path) -> bytes:
    """Size and time of a file; a dangling link has none, and is met when it is read."""
    try:
        found = path.stat()
    except OSError:
        return b"missing"
    return f"{found.st_size} {found.st_mtime_ns}".encode()


def read_beside(folder: Path, name: str) -> bytes:
    """The bytes of a file of a folder."""
    return read_file(folder / name)


def read_file(path: Path) -> bytes:
    """The bytes of a file, or a `UserError` that names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); put it there again or leave it out"
        ) from error


def _zip(path: Path) -> Entries:
    """The files of a zip archive."""
    reader = _Zip(path, file_stamp(path))
    entries = reader.archive.infolist()
    size = 0
    for entry in entries:
        mode = entry.external_attr >> 16
        _check_entry(path, entry.filename, entry.file_size, stat.S_ISLNK(mode))
        if entry.flag_bits & 1:
            raise UserError(f"{path}: {entry.filename} is encrypted; unpack it, give the folder")
        check_compression(path, entry)
        size += entry.file_size
    _check_growth(path, size)
    names, read = slashed(path, [entry.filename for entry in entries], reader)
    return Entries(names, read, file_fingerprint(path))


class _Zip:
    """Reads the files of a zip; opens it again in a process that it is sent to."""

    def __init__(self, path: Path, stamp: bytes):
        if file_stamp(path) != stamp:
            raise UserError(f"{path}: has changed since it was listed; give the command again")
        self.archive = zipfile.ZipFile(path)
        self._sent = (path, stamp)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Zip, self._sent

    def __call__(self, name: str) -> bytes:
        try:
            return self.archive.read(name)
        except (*_BROKEN, NotImplementedError) as error:
            raise _damaged(self._sent[0], error) from error


def _tar(path: Path, given: Path) -> Entries:
    """The files of a tar archive that is not compressed; `given` is what the user calls it."""
    places = {}
    with tarfile.open(path, "r:") as archive:
        for entry in archive:
            special = not (entry.isreg() or entry.isdir())
            _check_entry(given, entry.name, entry.size, special)
            if entry.isreg():
                places[entry.name] = (entry.offset_data, entry.size)
        # The library takes any end for the end; a whole archive has an empty block there.
        end = archive.offset
    with path.open("rb") as file:
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("its end is missing")

    # Of entries of one name the last counts, as where an archive is unpacked.
    names, read = slashed(given, places, partial(_read_tar, path, given, places))
    return Entries(names, read, file_fingerprint(given))


def _read_tar(path: Path, given: Path, places: dict[str, tuple[int, int]], name: str) -> bytes:
    start, size = places[name]
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size)
    except OSError as error:
        raise _damaged(given, error) from error


def _check_entry(path: Path, name: str, size: int, special: bool) -> None:
    """Refuses an entry that no archive of images has."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    remedy = "unpack the archive where that is safe, and give the folder"
    if posix.is_absolute() or windows.drive or windows.root or ".." in windows.parts:
        raise UserError(f"{path}: entry {name!r} lies outside the archive; {remedy}")
    if special:
        raise UserError(f"{path}: entry {name!r} is a link or no plain file; {remedy}")
    if size > _MOST_OF_ONE:
        raise UserError(f"{path}: entry {name!r} unpacks to {size:,} bytes; {remedy}")


def _check_growth(path: Path, size: int) -> None:
    """Refuses an archive that holds far more than images can be compressed by."""
    if size > max(_HARMLESS, _MOST_GROWTH * path.stat().st_size):
        raise UserError(
            f"{path}: unpacks to {size:,} bytes or more, over {_MOST_GROWTH} times its size; give "
            "an archive of images, or their folder"
        )


def _decompressed(path: Path) -> Path:
    """The tar file itself, or what a compressed one holds, made once and moved into place whole."""
    with path.open("rb") as file:
        start = file.read(6)
    openers = [opener for magic, opener in _COMPRESSIONS.items() if start.startswith(magic)]
    if not openers:
        return path
    target = cache_folder("archives") / f"{file_fingerprint(path)}.tar"
    if not target.exists():
        with (
            replacing_cached(target) as beside,
            beside.open("wb") as whole,
            openers[0](path, "rb") as source,
        ):
            while block := source.read(_BLOCK):
                whole.write(block)
                _check_growth(path, whole.tell())
    return target


def file_fingerprint(path: Path) -> str:
    """A word that changes when the file at a path is another."""
    return hashlib.blake2b(str(path.resolve()).encode() + file_stamp(path)).hexdigest()[:32]


def files_fingerprint(folder: Path, names: Iterable[str], start: str) -> str:
    """A word that changes when one of the named files of a folder does, or the word to start."""
    digest = hashlib.blake2b(start.encode())
    for name in names:
        digest.update(os.fsencode(name) + file_stamp(folder / name))
    return digest.hexdigest()[:32]


def _damaged(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"{path}: is no whole archive ({reason}); copy or fetch it again")
