"""Size and digest of each file of a finished folder, so that damage to it is found."""

import json
from collections.abc import Collection
from pathlib import Path

from darkrank_jax.digests import file_digest
from darkrank_jax.errors import UserError
from darkrank_jax.files import read_json, write_text
from darkrank_jax.schema import check_schema

NAME = "manifest.json"


def seal(folder: Path, *, without: Collection[str] = ()) -> None:
    """Writes down every file of a folder that is complete.

    Args:
      folder: takes `manifest.json`, whose "files" are path -> [bytes, BLAKE2b digest].
      without: names of files that may still change, or be lost without harm.
    """
    names = {NAME, *without}
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in names)
    files = {path.relative_to(folder).as_posix(): _facts(path) for path in paths}
    write_text(folder / NAME, json.dumps({"files": files}, indent=1) + "\n")


def damage(folder: Path) -> str:
    """What of a sealed folder is not as it was.

    Args:
      folder: that `seal` was called on; files that came later are not looked at.

    Returns:
      The first difference in a few words, or nothing where all is whole.

    Example:
      >>> import tempfile
      >>> folder = Path(tempfile.mkdtemp())
      >>> _ = (folder / "a").write_text("12345")
      >>> seal(folder)
      >>> damage(folder)
      ''
      >>> _ = (folder / "a").write_text("123")
      >>> damage(folder)
      'a has 3 bytes instead of 5'
    """
    try:
        sealed = read_json(folder / NAME, "")
        check_schema(sealed, {"files": {str: [(int, str)]}}, folder / NAME, "")
        files = {name: (size, digest) for name, (size, digest) in sealed["files"].items()}
        if not all(isinstance(s, int) and isinstance(d, str) for s, d in files.values()):
            raise ValueError("sizes and digests are swapped")
    except (UserError, ValueError):
        return f"{NAME} is altered" if (folder / NAME).exists() else f"{NAME} is missing"
    for name, (size, digest) in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size:,} bytes instead of {size:,}"
        if _facts(path)[1] != digest:
            return f"{name} is altered"
    return ""


def _facts(path: Path) -> list[int | str]:
    """Size and digest of a file."""
    return [path.stat().st_size, file_digest(path, "blake2b", length=128)]
