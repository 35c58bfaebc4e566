"""Looks at every image once, before training: which cannot be decoded, which are there twice."""

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from darkrank_jax.data.cache import built_beside, cache_folder
from darkrank_jax.data.listing import Listing
from darkrank_jax.data.pictures import decode
from darkrank_jax.errors import UserError

# Images whose results are held before they are looked at, which bounds the memory.
_BLOCK = 1024
# A bar is shown for so many images or more.
_WORTH_A_BAR = 2000
_SAME_FILE = "is the same file as {other}, of the same class"
_OTHER_CLASS = "is the same file as {other}, of class {label!r}; delete the wrong one"


def inspect(listing: Listing, *, tolerated: float) -> np.ndarray:
    """Finds the images that a run can use, and tells which it leaves out.

    An image that cannot be decoded is left out; so is a second copy of a file in the same class,
    and both copies of a file in two classes. What was found is remembered until the source
    changes.

    Args:
      listing: of a source.
      tolerated: largest share that may be undecodable or in two classes.

    Returns:
      Numbers of the images that are left.

    Raises:
      UserError: too many are broken; names the first.
    """
    count = len(listing.labels)
    path = cache_folder("inspections") / f"{listing.files.fingerprint}.json"
    if path.exists():
        found = json.loads(path.read_text())
    else:
        found = _look(listing, count)
        with built_beside(path) as beside:
            beside.write_text(json.dumps(found))
    _tell(found, count, tolerated, path)
    left_out = [row for kind in found.values() for row, _ in kind]
    return np.setdiff1d(np.arange(count), np.array(left_out, np.int64))


def _look(listing: Listing, count: int) -> dict[str, list[tuple[int, str]]]:
    """What is wrong with which image, by kind: "broken" and "twice"."""
    hashes, broken = np.zeros(count, np.uint64), []
    with tqdm(total=count, desc="looking at images", disable=count < _WORTH_A_BAR) as bar:
        for row, (digest, fault) in enumerate(_results(listing, count)):
            hashes[row] = digest
            if fault:
                broken.append((row, fault))
            bar.update()
    twice = []
    for rows in _copies(hashes, np.array([row for row, _ in broken], np.int64)):
        first = rows[0]
        conflict = (listing.labels[rows] != listing.labels[first]).any()
        for row in rows if conflict else rows[1:]:
            others = rows[listing.labels[rows] != listing.labels[row]] if conflict else rows
            other, kind = int(others[0]), _OTHER_CLASS if conflict else _SAME_FILE
            label = listing.class_names[listing.labels[other]]
            line = kind.format(other=listing.files.path(other), label=label)
            line = f"{listing.files.path(int(row))}: {line}"
            (broken if conflict else twice).append((int(row), line))
    return {"broken": sorted(broken), "twice": sorted(twice)}


def _results(listing: Listing, count: int) -> Iterator[tuple[int, str]]:
    """Hash and fault of each image in order; an empty fault is none."""

    def result(row: int) -> tuple[int, str]:
        try:
            file = listing.files.read(row)
            # At the smallest size; it meets every byte of the file all the same.
            decode(file, listing.files.path(row), size=(1, 1), grayscale=False)
        except UserError as error:
            return 0, str(error)
        return int.from_bytes(hashlib.blake2b(file, digest_size=8).digest(), "little"), ""

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, count, _BLOCK):
            yield from pool.map(result, range(start, min(start + _BLOCK, count)))


def _copies(hashes: np.ndarray, without: np.ndarray) -> list[np.ndarray]:
    """Groups of rows whose files are the same, each in order."""
    rows = np.setdiff1d(np.arange(len(hashes)), without)
    rows = rows[np.argsort(hashes[rows], kind="stable")]
    bounds = np.flatnonzero(np.diff(hashes[rows])) + 1
    return [group for group in np.split(rows, bounds) if len(group) > 1]


def _tell(found: dict[str, list], count: int, tolerated: float, path: Path) -> None:
    """Warns of what is left out, and refuses a source with too much of it."""
    log = logging.getLogger(__name__)
    broken, twice = found["broken"], found["twice"]
    if len(broken) > tolerated * count:
        share = f"{len(broken)} of {count} images are unusable"
        raise UserError(
            f"{broken[0][1]} ({share}, all listed in {path}; data.options.tolerated leaves out "
            "that share)"
        )
    if broken:
        line = "%d of %d images are left out, all listed in %s; first %s"
        log.warning(line, len(broken), count, path, broken[0][1])
    if twice:
        line = "%d of %d images are copies and left out, all listed in %s; first %s"
        log.warning(line, len(twice), count, path, twice[0][1])
