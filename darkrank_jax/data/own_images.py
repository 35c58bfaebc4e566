"""A user's own images: a folder of class folders, an archive of one, or a table."""

import itertools
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from darkrank_jax.data.archives import (
    file_fingerprint,
    files_fingerprint,
    is_hidden,
    open_entries,
    read_beside,
)
from darkrank_jax.data.inspection import inspect
from darkrank_jax.data.listing import Line, Listing, gather, part_of
from darkrank_jax.data.pictures import SUFFIXES
from darkrank_jax.data.sharing import share_out
from darkrank_jax.data.split import Split, check_numbers
from darkrank_jax.data.tables import READERS, read_table
from darkrank_jax.errors import UserError


def own_images(
    *,
    path: str,
    image_size: int | tuple[int, int],
    grayscale: bool = False,
    center_crop: float = 1.0,
    num_train_classes: int = 0,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.25,
    seed: int = 0,
    inspect_images: bool = True,
    tolerated: float = 0.01,
    cache_mib: int = 2048,
) -> dict[str, Split]:
    """Images where they lie, split by class unless they say how.

    A class is a folder. Folders named train, validation (val), test, query and gallery above the
    class folders are the splits, as the column `split` of a table is. A table's paths are relative
    to its folder.

    Args:
      path: folder, .zip, .tar (plain or compressed), .csv, .tsv or .parquet.
      image_size: pixels; one side, or height and width.
      grayscale: see `share_out`, as for those without a line of their own.
      center_crop: see there.
      num_train_classes: see there.
      validation_fraction: see there.
      test_fraction: see there.
      seed: see there.
      inspect_images: looks at every image once, before the first run.
      tolerated: largest share of images that may be left out as broken.
      cache_mib: see there.

    Returns:
      "train", "validation" and "test", no class in two of them.

    Raises:
      UserError: a number is out of its range, or the source, or too many of its images, cannot be
        used; the line names the option or the file.
    """
    if not path:
        raise UserError(
            "data.path: is empty; give a folder of class folders, a .zip or .tar of it, or a table"
        )
    shared = {
        "center_crop": center_crop,
        "num_train_classes": num_train_classes,
        "validation_fraction": validation_fraction,
        "test_fraction": test_fraction,
        "seed": seed,
        "cache_mib": cache_mib,
    }
    check_numbers(**shared, tolerated=tolerated)
    listing = _list(Path(path))
    rows = np.arange(len(listing.labels))
    return share_out(
        listing,
        inspect(listing, tolerated=tolerated) if inspect_images else rows,
        image_size=image_size,
        grayscale=grayscale,
        **shared,
    )


def _list(path: Path) -> Listing:
    """The images of a folder, an archive or a table."""
    if path.suffix.lower() in READERS:
        return _list_table(path)
    entries = open_entries(path)
    names = [name for name in entries.names if not is_hidden(name)]
    images = [name for name in names if name.lower().endswith(SUFFIXES)]
    if not images:
        raise UserError(
            f"{path}: holds no image among {len(names)} files; images end in {', '.join(SUFFIXES)}"
        )
    if len(images) < len(names):
        other = next(name for name in names if not name.lower().endswith(SUFFIXES))
        line = "%s: %d files are no images and left out; first %s"
        logging.getLogger(__name__).warning(line, path, len(names) - len(images), other)
    lines = _lines(path, images)
    return gather(lines, read=entries.read, where=path, fingerprint=entries.fingerprint)


def _list_table(path: Path) -> Listing:
    """The images that a table names, relative to its folder."""
    folder, table = path.parent, file_fingerprint(path)
    read = partial(read_beside, folder)
    listing = gather(read_table(path), read=read, where=folder, fingerprint=table)
    names = map(listing.files.name, range(len(listing.labels)))
    stamp = files_fingerprint(folder, names, table)
    return listing._replace(files=listing.files._replace(fingerprint=stamp))


def _lines(path: Path, names: list[str]) -> Iterator[Line]:
    """Class and split of each image by the folders it lies in."""
    folders = [PurePosixPath(name).parts[:-1] for name in names]
    # Folders that hold everything say nothing, such as one that the whole archive lies in.
    pairs = zip(min(folders), max(folders), strict=False)
    outer = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
    if len(set(folders)) == 1:
        raise UserError(
            f"{path}: holds images of one class alone ({'/'.join(folders[0]) or 'no folder'}); put "
            "each class in a folder of its own, and give the folder of these"
        )
    split = all(len(parts) > outer + 1 and part_of(parts[outer]) for parts in folders)
    for name, parts in zip(names, folders, strict=True):
        label = "/".join(parts[outer + split :])
        if not label:
            raise UserError(f"{path}: {name} lies in no class folder; move it into one")
        yield Line(name, label, parts[outer] if split else "")
