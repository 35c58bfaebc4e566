"""The folder for what can be made again: archives, what images are, compiled programs."""

import os
import stat
from contextlib import AbstractContextManager
from pathlib import Path

from darkrank_jax.errors import UserError
from darkrank_jax.files import remove_unfinished, replacing, writing

_OTHERWISE = "name another folder in the environment variable DARKRANK_CACHE"


def cache_folder(kind: str) -> Path:
    """A folder that outlives the run, made when it is missing, for this user alone.

    What killed processes left unfinished in it is removed.

    Args:
      kind: what is kept there.

    Returns:
      `kind` under the environment variable DARKRANK_CACHE, else under `darkrank_jax` in the
      user's cache.

    Raises:
      UserError: it cannot be made; or others can write to it, who could have programs in it run.
    """
    given, users = os.environ.get("DARKRANK_CACHE"), os.environ.get("XDG_CACHE_HOME")
    root = Path(given) if given else Path(users or Path.home() / ".cache") / "darkrank_jax"
    folder = root / kind
    with writing(root, _OTHERWISE):
        for each in (root, folder):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        # In a sticky folder nobody can replace what another user made.
        _check_own(root, sticky=True)
        _check_own(folder, sticky=False)
        remove_unfinished(folder)
    return folder


def replacing_cached(path: Path, *, folder: bool = False) -> AbstractContextManager[Path]:
    """`files.replacing` in a cache folder; an error says how to choose another."""
    return replacing(path, folder=folder, otherwise=_OTHERWISE)


def _check_own(folder: Path, *, sticky: bool) -> None:
    """Refuses a folder of another user, or that others may write to."""
    if os.name != "posix":
        return
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise UserError(
            f"{folder}: must be owned by you (its owner is {found.st_uid}); {_OTHERWISE}"
        )
    writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if writable and not (sticky and found.st_mode & stat.S_ISVTX):
        mode = f"{stat.S_IMODE(found.st_mode):o}"
        raise UserError(
            f"{folder}: must be writable by you alone (its mode is {mode}), since programs in it "
            "are run; delete it, or chmod -R go-w it if you trust its contents"
        )
