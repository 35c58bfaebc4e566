"""The folder for what can be made again: archives, what images are, programs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from darkrank_jax.errors import UserError


def cache_folder(kind: str) -> Path:
    """A folder that outlives the run, made when it is missing.

    Args:
      kind: what is kept there.

    Returns:
      `kind` under the environment variable DARKRANK_CACHE, else under `darkrank_jax` in the
      user's cache.

    Raises:
      UserError: it cannot be made.
    """
    given, users = os.environ.get("DARKRANK_CACHE"), os.environ.get("XDG_CACHE_HOME")
    root = Path(given) if given else Path(users or Path.home() / ".cache") / "darkrank_jax"
    try:
        (root / kind).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{root}: cannot be written ({error.strerror}); name another folder in the environment "
            "variable DARKRANK_CACHE"
        ) from error
    return root / kind


@contextmanager
def built_beside(target: Path) -> Iterator[Path]:
    """A path to write to, which becomes the target when all went well and vanishes when not."""
    beside = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        yield beside
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
