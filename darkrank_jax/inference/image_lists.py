"""Images to embed: a folder, an archive, a table, or those that a run was tested on."""

import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from darkrank_jax.data.files.archives import open_entries, read_beside
from darkrank_jax.data.files.folders import is_hidden
from darkrank_jax.data.files.tables import READERS, read_table
from darkrank_jax.data.pixels.pictures import SUFFIXES, to_picture
from darkrank_jax.errors import UserError
from darkrank_jax.runs.splits import Splits
from darkrank_jax.workdir.run_file import is_workdir, recorded_run


class ImagesIn(NamedTuple):
    """Images somewhere.

    Attributes:
      ids: their names there.
      labels: a table's labels, classes, or the folder that each lies in; "" where there is none.
      read: the bytes of a name.
    """

    ids: list[str]
    labels: list[str]
    read: Callable[[str], bytes]


def list_images(path: Path, flag: str = "--images") -> ImagesIn:
    """Finds the images of a folder, an archive, a table or a run.

    Args:
      path: folder, .zip, .tar (plain or compressed), .csv, .tsv or .parquet with columns `path`
        (relative to the table's folder) and `label`; or one image; or the workdir of a run, for
        the images that it was tested on.
      flag: by which the path was given, for the error where there is nothing.

    Returns:
      The images, in the order of the table, the split or their names.

    Raises:
      UserError: there are none, or the path cannot be read.
    """
    if not path.exists():
        raise UserError(
            f"{flag}: must exist (got {path}); give a folder, a .zip or .tar, a table or an image"
        )
    if is_workdir(path):
        return _tested_on(path)
    if path.suffix.lower() in READERS:
        lines = list(read_table(path))
        names, labels = [line.name for line in lines], [line.label for line in lines]
        return ImagesIn(names, labels, partial(read_beside, path.parent))
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return ImagesIn([path.name], [""], partial(read_beside, path.parent))
    entries = open_entries(path)
    names = sorted(
        name for name in entries.names if name.lower().endswith(SUFFIXES) and not is_hidden(name)
    )
    if not names:
        raise UserError(f"{path}: holds no image; images end in {', '.join(SUFFIXES)}")
    folders = [PurePosixPath(name).parent.as_posix() for name in names]
    return ImagesIn(names, ["" if x == "." else x for x in folders], entries.read)


def holds_several(path: Path) -> bool:
    """Whether a path is a folder, an archive or a table, and not a file that may be an image."""
    if path.is_dir() or path.suffix.lower() in READERS:
        return True
    return path.is_file() and (zipfile.is_zipfile(path) or _is_tar(path))


def place_of(path: Path, names: Iterable[str]) -> list[str]:
    """Where images lie, so that one is known again under another spelling of its path.

    Args:
      path: that `list_images` was given.
      names: of its images.

    Returns:
      An absolute path each; in an archive or a run, below that.
    """
    own_file = path.is_file() and path.suffix.lower() in (*READERS, *SUFFIXES)
    folder = os.path.realpath(path.parent if own_file else path)
    return [os.path.realpath(os.path.join(folder, name)) for name in names]


def _is_tar(path: Path) -> bool:
    """Whether a file is a tar archive; not by its first bytes alone if it is named as an image."""
    return path.suffix.lower() not in SUFFIXES and tarfile.is_tarfile(path)


def _tested_on(workdir: Path) -> ImagesIn:
    """The test split of a run, as files of the size at which its network sees them."""
    splits = Splits()[recorded_run(workdir).data]
    # Images without labels have none to test on.
    split = splits.get("test", splits["validation"])
    labels = [split.class_names[label] if split.class_names else "" for label in split.labels]
    # A source that draws its images has no names for them.
    names = split.names or [f"{label}/{row}" for row, label in enumerate(labels)]
    row_of = {name: row for row, name in enumerate(names)}

    def read(name: str) -> bytes:
        file = io.BytesIO()
        to_picture(split.images[row_of[name]]).save(file, "PNG")
        return file.getvalue()

    return ImagesIn(names, labels, read)
