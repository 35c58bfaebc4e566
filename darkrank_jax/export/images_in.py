"""A user's images to embed: a folder, an archive or a table; no classes are asked for."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from darkrank_jax.data.archives import is_hidden, open_entries, read_file
from darkrank_jax.data.pictures import SUFFIXES
from darkrank_jax.data.tables import READERS, read_table
from darkrank_jax.errors import UserError


class ImagesIn(NamedTuple):
    """Images somewhere.

    Attributes:
      ids: their names there.
      labels: a table's labels, or the folder that each lies in, "" where there is none.
      read: the bytes of a name.
    """

    ids: list[str]
    labels: list[str]
    read: Callable[[str], bytes]


def list_images(path: Path) -> ImagesIn:
    """Finds the images of a folder, an archive or a table.

    Args:
      path: folder, .zip, .tar (plain or compressed), .csv, .tsv or .parquet with columns `path`
        (relative to the table's folder) and `label`; or one image.

    Returns:
      The images, in the order of the table or of their names.

    Raises:
      UserError: there are none, or the path cannot be read.
    """
    if path.suffix.lower() in READERS:
        lines = list(read_table(path))
        names, labels = [line.name for line in lines], [line.label for line in lines]
        return ImagesIn(names, labels, lambda name: read_file(path.parent / name))
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return ImagesIn([path.name], [""], lambda name: read_file(path.parent / name))
    entries = open_entries(path)
    names = sorted(
        name for name in entries.names if name.lower().endswith(SUFFIXES) and not is_hidden(name)
    )
    if not names:
        raise UserError(f"{path}: holds no image; images end in {', '.join(SUFFIXES)}")
    folders = [PurePosixPath(name).parent.as_posix() for name in names]
    return ImagesIn(names, ["" if x == "." else x for x in folders], entries.read)
