"""The files below a folder, each once, and which names belong to systems."""

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from darkrank_jax.errors import UserError
from darkrank_jax.files import read_advice
from darkrank_jax.terminal import printable

# Files and folders that systems, cameras and galleries keep beside a user's, in lower case.
_SYSTEM = {
    *("__macosx", "@eadir", "#recycle", "@recycle", "@recently-snapshot", "#snapshot"),
    *("$recycle.bin", "recycler", "system volume information", "lost+found"),
    *("_thumb", "_thumbs", "_thumbnails", "thumbs.db", "ehthumbs.db", "desktop.ini"),
}


def is_hidden(name: str) -> bool:
    """Whether a file is a system's, not the user's: a dot file, a thumbnail of a NAS, or trash.

    Example:
      >>> is_hidden("cats/@eaDir/1.jpg/SYNOFILE_THUMB_M.jpg"), is_hidden("cats/1.jpg")
      (True, False)
    """
    return any(
        part.startswith(".") or part.lower() in _SYSTEM for part in PurePosixPath(name).parts
    )


def list_files(path: Path) -> list[str]:
    """Names of the files below a folder.

    Links are followed, also out of the folder; each folder is listed once, under its own name
    rather than that of a link. Dot files are left out. Pipes, sockets, devices and links to them
    are left out, never opened, and reported, as are links to folders that are listed already.

    Args:
      path: of the folder.

    Returns:
      Names with slashes, relative to the folder. A dangling link is one of them, and is met when it
      is read.

    Raises:
      UserError: a folder cannot be listed.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     Path(folder, "cats").mkdir()
      ...     Path(folder, "cats", "1.jpg").touch()
      ...     list_files(Path(folder))
      ['cats/1.jpg']
    """
    names: list[str] = []
    special: list[str] = []
    repeated: list[str] = []
    seen: set[str] = set()
    starts = [path]
    # Links come last, so that a folder is listed under its own name.
    for start in starts:
        for folder, folders, files in _walk(start):
            inner = PurePosixPath(folder.relative_to(path).as_posix())
            real = os.path.realpath(folder)
            if real in seen:
                repeated.append(str(inner))
                folders.clear()
                continue
            seen.add(real)
            starts += [folder / each for each in folders if (folder / each).is_symlink()]
            for file in files:
                kept = names if is_file(folder / file) else special
                kept.append(str(inner / file))
    warn_left_out(path, special, "are pipes, sockets or devices and left out")
    warn_left_out(path, repeated, "folders are listed already and left out")
    return names


def is_file(path: str | Path) -> bool:
    """Whether a path may be opened: a regular file, or none yet, which is met when it is read."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return True


def warn_left_out(path: Path, names: list[str], reason: str) -> None:
    """Warns of files that are not used: how many, why, and the first."""
    if names:
        line = "%s: %d %s; first %s"
        logging.getLogger(__name__).warning(line, path, len(names), reason, printable(names[0]))


def _walk(start: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """`os.walk` in the order of names, without dot files; fails where it cannot list."""

    def fail(error: OSError) -> None:
        # Such as lost+found, which only root can read.
        if is_hidden(os.path.basename(error.filename)):
            return
        raise UserError(
            f"{error.filename}: cannot be listed ({error.strerror}); "
            f"{read_advice(error, 'make it readable, or move it out of here')}"
        ) from error

    for folder, folders, files in os.walk(start, onerror=fail):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        yield Path(folder), folders, sorted(each for each in files if not each.startswith("."))
