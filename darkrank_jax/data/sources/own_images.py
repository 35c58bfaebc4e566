"""A user's own images: a folder of class folders, an archive of one, or a table."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from darkrank_jax.data.files.archives import (
    file_fingerprint,
    listed_files,
    open_entries,
    read_beside,
)
from darkrank_jax.data.files.class_folders import lines_of_folders
from darkrank_jax.data.files.folders import is_file, is_hidden, warn_left_out
from darkrank_jax.data.files.inspection import inspect
from darkrank_jax.data.files.labels import warn_of_labels, without_labels
from darkrank_jax.data.files.listing import Line, Listing, gather
from darkrank_jax.data.files.tables import READERS, read_table, refuse_two_labels
from darkrank_jax.data.pixels.limits import MAX_MEGAPIXELS
from darkrank_jax.data.pixels.pictures import SUFFIXES
from darkrank_jax.data.sources.sharing import share_out
from darkrank_jax.data.split import Split, check_numbers
from darkrank_jax.errors import UserError

# Suffixes of tables of other kinds.
_OTHER_TABLES = (".xlsx", ".xls", ".ods", ".json", ".jsonl", ".txt", ".arrow", ".feather")


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
    ignored_labels: tuple[str | int, ...] | list[str | int] = (),
    inspect_images: bool = True,
    tolerated: float = 0.01,
    cache_mib: int = 2048,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> dict[str, Split]:
    """Images where they lie, split by class unless they say how.

    A class is a folder. Folders named train, validation (val), test, query and gallery above the
    class folders are the splits, as the column `split` of a table is; `part_of` knows further
    words. A table's paths are relative to its folder.

    Args:
      path: folder, .zip, .tar (plain or compressed), .csv, .tsv or .parquet.
      image_size: pixels; one side, or height and width.
      grayscale: see `share_out`, as for those without a line of their own.
      center_crop: see there.
      num_train_classes: see there.
      validation_fraction: see there.
      test_fraction: see there.
      seed: see there.
      ignored_labels: labels whose images are left out, such as "-1" in tables made of Market-1501.
      inspect_images: looks at every image once, before the first run.
      tolerated: largest share of images that may be left out as broken.
      cache_mib: see there.
      max_megapixels: see there.

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
        "max_megapixels": max_megapixels,
    }
    check_numbers(**shared, tolerated=tolerated)
    listing = _list(Path(path), ignored_labels)
    warn_of_labels(Path(path), listing)
    rows = np.arange(len(listing.labels))
    return share_out(
        listing,
        inspect(listing, tolerated=tolerated, max_megapixels=max_megapixels)
        if inspect_images
        else rows,
        image_size=image_size,
        grayscale=grayscale,
        **shared,
    )


def _list(path: Path, ignored: Sequence[str | int]) -> Listing:
    """The images of a folder, an archive or a table."""
    suffix = path.suffix.lower()
    if suffix in READERS:
        return _list_table(path, ignored)
    if suffix in _OTHER_TABLES:
        raise UserError(f"{path}: {suffix} tables are not read; save it as .csv, .tsv or .parquet")
    entries = open_entries(path)
    images = _images(path, entries.names)
    lines = without_labels(path, lines_of_folders(path, images), ignored)
    return gather(lines, read=entries.read, where=path, fingerprint=entries.fingerprint)


def _images(path: Path, names: list[str]) -> list[str]:
    """The images among files; reports what is left out, but for dot files."""
    images, other, systems = [], [], []
    for name in names:
        is_image = name.lower().endswith(SUFFIXES)
        if not is_hidden(name):
            (images if is_image else other).append(name)
        elif is_image and "/." not in f"/{name}":
            systems.append(name)
    if not images:
        raise UserError(
            f"{path}: holds no image among {len(names)} files; images end in {', '.join(SUFFIXES)}"
        )
    warn_left_out(path, other, "files are no images and left out")
    warn_left_out(path, systems, "are files of a system and left out")
    return images


def _list_table(path: Path, ignored: Sequence[str | int]) -> Listing:
    """The images that a table names, relative to its folder."""
    folder, table = path.parent, file_fingerprint(path)
    read = partial(read_beside, folder)
    lines = without_labels(path, _lines(path), ignored)
    listing = gather(lines, read=read, where=folder, fingerprint=table)
    refuse_two_labels(path, listing.files.name, listing.labels)
    names = map(listing.files.name, range(len(listing.labels)))
    read, fingerprint = listed_files(folder, names, table)
    return listing._replace(files=listing.files._replace(read=read, fingerprint=fingerprint))


def _lines(path: Path) -> Iterator[Line]:
    """The lines of a table whose images may be opened, with slashes in names."""
    special = []
    for line in read_table(path):
        # As written on Windows.
        if "\\" in line.name and not os.path.exists(os.path.join(path.parent, line.name)):
            line = line._replace(name=line.name.replace("\\", "/"))
        if is_file(os.path.join(path.parent, line.name)):
            yield line
        else:
            special.append(line.name)
    warn_left_out(path, special, "rows name folders, pipes, sockets or devices and are left out")
