"""Names of the entries of an archive: with slashes, each once."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path, PurePosixPath
from zipfile import ZipInfo

from darkrank_jax.errors import UserError

# Compressions of zip archives by number -> their names where Python cannot read them.
_READABLE = {0, 8, 12, 14}
_COMPRESSIONS = {
    1: "Shrink",
    6: "Implode",
    9: "Deflate64",
    93: "Zstandard",
    95: "XZ",
    96: "JPEG",
    97: "WavPack",
    98: "PPMd",
}
_REMEDY = "unpack the archive and give the folder"


def slashed(
    path: Path, names: Iterable[str], read: Callable[[str], bytes]
) -> tuple[list[str], Callable[[str], bytes]]:
    r"""Names of files with slashes, and what reads the bytes of such a name.

    Some tools for Windows write backslashes between folders. Where no name has a slash, these are
    taken as slashes.

    Args:
      path: of the archive, for errors.
      names: of its entries.
      read: the bytes of an entry.

    Returns:
      The names of files, and the function.

    Raises:
      UserError: some names have slashes and others backslashes, or a name is there twice.

    Example:
      >>> names, read = slashed(Path("a.zip"), ["a\\", "a\\1.png"], str.encode)
      >>> names, read("a/1.png")
      (['a/1.png'], b'a\\1.png')
    """
    listed = list(names)
    turned = next((name for name in listed if "\\" in name), None)
    if turned is not None:
        if any("/" in name for name in listed):
            raise UserError(
                f"{path}: entry {turned!r} has a backslash, where others have slashes; {_REMEDY}"
            )
        listed, read = [name.replace("\\", "/") for name in listed], partial(_backslashed, read)
    files = [name for name in listed if not name.endswith("/")]
    seen: set[PurePosixPath] = set()
    for name in files:
        if (place := PurePosixPath(name)) in seen:
            raise UserError(f"{path}: entry {name!r} is there twice; {_REMEDY}")
        seen.add(place)
    return files, read


def check_compression(path: Path, entry: ZipInfo) -> None:
    """Refuses an entry of a zip that Python cannot decompress.

    Args:
      path: of the archive.
      entry: of it.

    Raises:
      UserError: names the compression.
    """
    if entry.compress_type not in _READABLE:
        number = entry.compress_type
        kind = _COMPRESSIONS.get(number, f"method {number}")
        raise UserError(
            f"{path}: entry {entry.filename!r} is compressed by {kind}, which Python cannot read; "
            f"{_REMEDY}"
        )


def _backslashed(read: Callable[[str], bytes], name: str) -> bytes:
    """The bytes of an entry whose name has backslashes."""
    return read(name.replace("/", "\\"))
