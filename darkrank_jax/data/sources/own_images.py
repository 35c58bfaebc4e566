"""A user's own images: a folder of class folders, an archive of one, or a table."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from darkrank_jax.data.files.archives import (
    listed_files,
    open_entries,
    read_beside,
    state_digest,
)
from darkrank_jax.data.files.class_folders import lines_of_folders
from darkrank_jax.data.files.folders import is_file, is_hidden, warn_left_out
from darkrank_jax.data.files.inspection import inspect
from darkrank_jax.data.files.labels import warn_of_labels, without_labels
from darkrank_jax.data.files.listing import Line, Listing, gather
from darkrank_jax.data.files.shards import is_shards, shard_listing
from darkrank_jax.data.files.tables import READERS, read_table, refuse_two_labels
from darkrank_jax.data.images import Files
from darkrank_jax.data.pixels.pictures import SUFFIXES
from darkrank_jax.data.sources.class_splits import SplitOptions, make_splits
from darkrank_jax.data.split import Split, check_ranges
from darkrank_jax.errors import UserError

# Suffixes of tables of other kinds.
_OTHER_TABLES = (".xlsx", ".xls", ".ods", ".json", ".jsonl", ".txt", ".arrow", ".feather")


def own_images(
    options: SplitOptions,
    *,
    path: str,
    ignored_labels: tuple[str | int, ...] | list[str | int] = (),
    inspect_images: bool = True,
    tolerated: float = 0.01,
) -> dict[str, Split]:
    """Images where they lie, split by class unless they say how.

    A class is a folder. Folders named train, validation (val), test, query and gallery above the
    class folders are the splits, as the column `split` of a table is; `part_of` knows further
    words. A table's paths are relative to its folder.

    Args:
      options: size, crop and classes of the splits.
      path: folder, .zip, .tar (plain or compressed), .csv, .tsv or .parquet; or WebDataset's
        shards, "shard-{000..099}.tar" or a URL of fsspec.
      ignored_labels: labels whose images are left out, such as "-1" in tables made of Market-1501.
      inspect_images: looks at every image once, before the first run.
      tolerated: largest share of images that may be left out as broken.

    Returns:
      "train", "validation" and "test", no class in two of them.

    Raises:
      UserError: a number is out of its range, or the source, or too many of its images, cannot be
        used; the line names the option or the file.
    """
    if not path:
        raise UserError(
            "data.path: must not be empty; give a folder of class folders, a .zip or .tar of it, "
            "or a table"
        )
    check_ranges(tolerated=tolerated)
    shards = is_shards(path)
    if shards and ignored_labels:
        raise UserError("data.options.ignored_labels: are of no shards; leave the images out there")
    found = shard_listing(path, labelled=True) if shards else _list(Path(path), ignored_labels)
    warn_of_labels(Path(path), found)
    usable = None
    if inspect_images:
        usable = inspect(found, tolerated=tolerated, max_megapixels=options.max_megapixels)
    return make_splits(found, options, usable)


def _list(path: Path, ignored: Sequence[str | int]) -> Listing:
    """The images of a folder, an archive or a table."""
    suffix = path.suffix.lower()
    if suffix in READERS:
        return _list_table(path, ignored)
    if suffix in _OTHER_TABLES:
        raise UserError(f"{path}: {suffix} tables are not read; save it as .csv, .tsv or .parquet")
    entries = open_entries(path)
    images = image_names(path, entries.names)
    lines = without_labels(path, lines_of_folders(path, images), ignored)
    return gather(lines, read=entries.read, where=path, digest=entries.digest)


def image_names(path: Path, names: list[str]) -> list[str]:
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
    folder, table = path.parent, state_digest(path)
    read = partial(read_beside, folder)
    lines = without_labels(path, _lines(path), ignored)
    listing = gather(lines, read=read, where=folder, digest=table)
    refuse_two_labels(path, listing.files.name, listing.labels)
    names = map(listing.files.name, range(len(listing.labels)))
    read, digest = listed_files(folder, names, table)
    return listing._replace(files=Files(read, listing.files.name, str(folder), digest))


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
