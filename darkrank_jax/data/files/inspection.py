"""Looks at every image once, before training: which cannot be decoded, which are there twice."""

import json
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from darkrank_jax.data.cache import cache_folder, replacing_cached
from darkrank_jax.data.files.listing import Listing
from darkrank_jax.data.pixels.pictures import decode
from darkrank_jax.digests import short_digest
from darkrank_jax.errors import UserError
from darkrank_jax.files import read_error

# Images whose results are held before they are looked at, which bounds the memory.
_BLOCK = 1024
# Least number of images for which a bar is shown.
_WORTH_A_BAR = 2000
# Of the remembered state; another is not read.
_VERSION = 2
_KINDS = ("broken", "twice", "unread")
_Found = dict[str, list[tuple[int, str]]]
_SAME_FILE = "is the same file as {other}, of the same class"
_OTHER_CLASS = "is the same file as {other}, of class {label!r}; delete the wrong one"


class _Result(NamedTuple):
    """What is found of an image: hash of the file, fault or "", whether the system is to blame."""

    digest: int
    fault: str
    unread: bool


def inspect(listing: Listing, *, tolerated: float, max_megapixels: float) -> np.ndarray:
    """Finds the images that a run can use, and tells which it leaves out.

    An image that cannot be decoded is left out; so is a second copy of a file in the same class,
    and both copies of a file in two classes. What was found is remembered until the source
    changes, or, where files could not be read, until the next run.

    Args:
      listing: of a source.
      tolerated: largest share that may be undecodable or in two classes.
      max_megapixels: the most millions of pixels of an image.

    Returns:
      Numbers of the images that are left.

    Raises:
      UserError: too many are broken; names the first.
    """
    count = len(listing.labels)
    path = cache_folder("inspections") / f"{listing.files.digest}.json"
    found = _remembered(path, count, max_megapixels)
    # What could not be read may be read now.
    if found is None or found["unread"]:
        found = _inspect_all(listing, count, max_megapixels)
        state = {"version": _VERSION, "max_megapixels": max_megapixels, "found": found}
        with replacing_cached(path) as beside:
            beside.write_text(json.dumps(state), encoding="utf-8")
    _warn_of_unusable(found, count, tolerated, path)
    left_out = [number for kind in found.values() for number, _ in kind]
    return np.setdiff1d(np.arange(count), np.array(left_out, np.int64))


def _remembered(path: Path, count: int, max_megapixels: float) -> _Found | None:
    """What an earlier run found under the same limit; None if nothing whole is there."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise read_error(path, error) from error
    except (ValueError, RecursionError):
        return None
    if not isinstance(state, dict) or state.keys() != {"version", "max_megapixels", "found"}:
        return None
    found = state["found"]
    if (state["version"], state["max_megapixels"]) != (_VERSION, max_megapixels):
        return None
    if not isinstance(found, dict) or found.keys() != {*_KINDS}:
        return None
    if not all(
        isinstance(numbers, list) and _are_findings(numbers, count) for numbers in found.values()
    ):
        return None
    return {kind: [(number, line) for number, line in numbers] for kind, numbers in found.items()}


def _are_findings(numbers: list[Any], count: int) -> bool:
    """Whether each is the number of an image and a text."""
    return all(
        isinstance(each, list)
        and [type(part) for part in each] == [int, str]
        and 0 <= each[0] < count
        for each in numbers
    )


def _inspect_all(listing: Listing, count: int, max_megapixels: float) -> _Found:
    """What is wrong with which image, by kind."""
    hashes = np.zeros(count, np.uint64)
    found: _Found = {kind: [] for kind in _KINDS}
    with tqdm(total=count, desc="looking at images", disable=count < _WORTH_A_BAR) as bar:
        for number, result in enumerate(_results(listing, count, max_megapixels)):
            hashes[number] = result.digest
            if result.fault:
                found["unread" if result.unread else "broken"].append((number, result.fault))
            bar.update()
    without = [number for kind in found.values() for number, _ in kind]
    for numbers in _copies(hashes, np.array(without, np.int64)):
        first = numbers[0]
        conflict = (listing.labels[numbers] != listing.labels[first]).any()
        for number in numbers if conflict else numbers[1:]:
            others = (
                numbers[listing.labels[numbers] != listing.labels[number]] if conflict else numbers
            )
            other, kind = int(others[0]), _OTHER_CLASS if conflict else _SAME_FILE
            label = listing.class_names[listing.labels[other]]
            line = kind.format(other=listing.files.path(other), label=label)
            line = f"{listing.files.path(int(number))}: {line}"
            found["broken" if conflict else "twice"].append((int(number), line))
    return {kind: sorted(numbers) for kind, numbers in found.items()}


def _results(listing: Listing, count: int, max_megapixels: float) -> Iterator[_Result]:
    """What is found of each image in order."""

    def result(number: int) -> _Result:
        try:
            file = listing.files.bytes_of(number)
        except UserError as error:
            cause, path = error.__cause__, listing.files.path(number)
            # A file that is gone is another source, once it is there again, of another digest.
            gone = isinstance(cause, FileNotFoundError) and str(cause.filename) == path
            return _Result(0, str(error), isinstance(cause, OSError) and not gone)
        try:
            # At the smallest size; it meets every byte of the file all the same.
            decode(
                file,
                listing.files.path(number),
                size=(1, 1),
                grayscale=False,
                max_megapixels=max_megapixels,
            )
        except UserError as error:
            return _Result(0, str(error), isinstance(error.__cause__, MemoryError))
        return _Result(short_digest(file), "", False)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, count, _BLOCK):
            yield from pool.map(result, range(start, min(start + _BLOCK, count)))


def _copies(hashes: np.ndarray, without: np.ndarray) -> list[np.ndarray]:
    """Groups of numbers whose files are the same, each in order."""
    numbers = np.setdiff1d(np.arange(len(hashes)), without)
    numbers = numbers[np.argsort(hashes[numbers], kind="stable")]
    bounds = np.flatnonzero(np.diff(hashes[numbers])) + 1
    return [group for group in np.split(numbers, bounds) if len(group) > 1]


def _warn_of_unusable(found: dict[str, list], count: int, tolerated: float, path: Path) -> None:
    """Warns of what is left out, and refuses a source with too much of it."""
    log = logging.getLogger(__name__)
    broken, twice = sorted(found["broken"] + found["unread"]), found["twice"]
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
