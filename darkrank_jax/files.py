"""Files written whole or not at all, and JSON read back with an error that names the file."""

import contextlib
import csv
import errno
import io
import itertools
import json
import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from darkrank_jax.digests import digest
from darkrank_jax.errors import UserError
from darkrank_jax.terminal import csv_cell

# What to do about an error of the system, where it is not simply "choose another place".
_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs; the system has too many open files",
    errno.ENOENT: "its folder is missing; was it deleted or unmounted?",
    errno.EROFS: "mount its file system for writing",
    errno.EIO: "its disk or mount failed; check it",
    errno.ENAMETOOLONG: "choose a shorter name",
}
# A lost mount.
_GONE = (
    errno.ESTALE,
    errno.ENOTCONN,
    errno.ENODEV,
    errno.ENXIO,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
)
_ADVICE |= dict.fromkeys(_GONE, "its file system is gone; mount it again")
# Errors of which the file that is read is not the cause.
_NOT_THE_FILE = (errno.EMFILE, errno.ENFILE, errno.EIO, *_GONE)
_PUT_BACK = "put it there again or leave it out"
HOST = digest([platform.node().encode()], length=8)
_PART = re.compile(r"\.part-([0-9a-f]{8})-(\d+)-\d+.*", re.DOTALL)
_COUNT = itertools.count()
_OWN: set[str] = set()


@contextmanager
def writing(path: Path, otherwise: str = "choose another place") -> Iterator[None]:
    """Turns an `OSError` of a write, such as one on a full disk, into `write_error`."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error, otherwise) from error


def make_folder(folder: Path) -> None:
    """Makes a folder; raises `UserError` where that is impossible."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def replacing(
    path: Path, *, folder: bool = False, otherwise: str = "choose another place"
) -> Iterator[Path]:
    """A new file beside `path` that takes its place when the block ends without an error.

    A reader sees the earlier file or the new one, never a part. The new one is on the disk before
    it replaces the earlier one. If the block fails, the earlier file stays and the new one is
    removed.

    Args:
      path: of the file to write; its folder is made. A link is followed.
      folder: whether a folder is written, which must not exist yet under `path`.
      otherwise: how to write elsewhere, to end an error with.

    Yields:
      The path to write to, with the suffix of `path`: an empty file, or an empty folder. Its name
      begins with a dot, so that readers of image folders pass it over.

    Raises:
      UserError: an `OSError` in the block or in the replacement, with what to do about it.
    """
    with writing(path, otherwise):
        target = Path(os.path.realpath(path))
        if target.exists() and not folder and not target.is_file():
            raise UserError(f"{path}: must be a regular file; choose another path")
        target.parent.mkdir(parents=True, exist_ok=True)
        with _unfinished(target.parent, target.suffix) as beside:
            if folder:
                beside.mkdir()
            else:
                beside.touch(exist_ok=False)
            mode = beside.stat().st_mode
            yield beside
            if not folder:
                # Some writers replace the file by one that nobody else may read.
                beside.chmod(target.stat().st_mode if target.exists() else mode)
            for written in (*beside.rglob("*"), beside) if folder else (beside,):
                sync(written)
            os.replace(beside, target)
        sync(target.parent)


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A folder in `folder`, which is made, for files that may prove wrong; removed at the end.

    Raises:
      UserError: an `OSError` in the block, with what to do about it.
    """
    with writing(folder), _unfinished(folder) as inner:
        inner.mkdir(parents=True)
        yield inner


@contextmanager
def _unfinished(folder: Path, suffix: str = "") -> Iterator[Path]:
    """A path that no other process uses, removed at the end if anything is there."""
    path = folder / f".part-{HOST}-{os.getpid()}-{next(_COUNT)}{suffix}"
    _OWN.add(path.name)
    try:
        yield path
    finally:
        _remove(path)
        _OWN.discard(path.name)


def write_text(path: Path, text: str) -> None:
    """Writes text as UTF-8, whole or not at all; see `replacing`.

    Bytes of file names that are not UTF-8 are written as backslash escapes.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_csv(
    path: Path, columns: Sequence[str], rows: Iterable[Iterable[Any]], separator: str = ","
) -> None:
    """Writes a table, whole or not at all; a spreadsheet runs none of its cells.

    Args:
      path: of the file; its folder is made.
      columns: their names, the first line.
      rows: of as many values each.
      separator: between the values.

    Raises:
      UserError: the file cannot be written; the earlier one is still there.
    """
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator="\n")
    for row in (columns, *rows):
        writer.writerow(map(csv_cell, row))
    write_text(path, text.getvalue())


def write_bytes(path: Path, data: bytes) -> None:
    """Writes bytes, whole or not at all; see `replacing`."""
    with replacing(path) as beside:
        beside.write_bytes(data)


def write_error(path: Path, error: OSError, otherwise: str = "choose another place") -> UserError:
    """The error of a failed write, with what to do about its cause.

    Example:
      >>> print(write_error(Path("a.npz"), OSError(errno.ENOSPC, "No space left on device")))
      a.npz: cannot be written (No space left on device); free some space, or choose another place
    """
    advice = _ADVICE.get(error.errno or 0)
    place = f"{advice}, or {otherwise}" if advice else otherwise
    return UserError(f"{path}: cannot be written ({_reason(error)}); {place}")


def read_error(path: Path, error: OSError, otherwise: str = _PUT_BACK) -> UserError:
    """The error of a failed read, with what to do about its cause.

    Args:
      path: of the file.
      error: of the system.
      otherwise: what to do where the cause is the file itself.

    Example:
      >>> print(read_error(Path("a.png"), OSError(errno.EMFILE, "Too many open files")))
      a.png: cannot be read (Too many open files); raise the limit of open files (ulimit -n)
    """
    return UserError(f"{path}: cannot be read ({_reason(error)}); {read_advice(error, otherwise)}")


def read_advice(error: Exception, otherwise: str) -> str:
    """What to do about an error: as `otherwise` says, unless the system or the mount is its cause.

    Example:
      >>> read_advice(OSError(errno.ESTALE, "Stale file handle"), "copy it again")
      'its file system is gone; mount it again'
    """
    number = error.errno if isinstance(error, OSError) else None
    return _ADVICE[number] if number in _NOT_THE_FILE else otherwise


def _reason(error: OSError) -> str:
    """What the system says of an error, in one line."""
    return error.strerror or " ".join(str(error).split())


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk, where the system can."""
    if path.is_dir() and os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems do not sync folders.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def remove_unfinished(folder: Path) -> None:
    """Removes what killed processes of this machine left of `replacing` in a folder."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        for name in os.listdir(folder):
            found = _PART.fullmatch(name)
            if found and found[1] == HOST and not _is_in_use(name, int(found[2])):
                _remove(folder / name)


def read_json(path: Path, advice: str) -> Any:
    """The value in a JSON file.

    Args:
      path: of the file.
      advice: what to do if it is damaged, to end the error with.

    Raises:
      UserError: the file is missing, cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: must exist; {advice}") from error
    except OSError as error:
        raise read_error(path, error, advice) from error
    except (ValueError, RecursionError) as error:
        reason = "must not be empty" if path.stat().st_size == 0 else f"is damaged ({error})"
        raise UserError(f"{path}: {reason}; {advice}") from error


def _remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _is_in_use(name: str, pid: int) -> bool:
    """Whether the process that began to write a file still runs."""
    if pid == os.getpid():
        # Process numbers are given again, so it may be of an earlier process.
        return name in _OWN
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
