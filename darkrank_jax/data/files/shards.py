"""Shards of images in tar files, as WebDataset names them, read at random from an index made once.

`shard-{000000..000999}.tar` holds samples: files that follow each other and have one name up to its
first dot. `KEY.jpg` is the image, `KEY.cls` (text) or `KEY.json` (its field "label") its class.
"""

import contextlib
import json
import os
import re
import tarfile
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import numpy as np
from tqdm import tqdm

from darkrank_jax.data.cache import cache_folder, replacing_cached
from darkrank_jax.data.files.archives import file_state, read_part, tar_entries
from darkrank_jax.data.files.listing import Listing, clean, natural_order
from darkrank_jax.data.files.parts import UNGIVEN
from darkrank_jax.data.pixels.pictures import SUFFIXES
from darkrank_jax.digests import digest
from darkrank_jax.errors import UserError
from darkrank_jax.files import read_error, read_json
from darkrank_jax.terminal import printable

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 10**6
# Of the index; another is not read.
_VERSION = 1
_LABEL = "label"
# Bytes of a class; of a longer .json what follows is missed, which is an error.
_MOST_OF_LABEL = 2**20
# File of the index -> type of its numbers.
_COLUMNS: dict[str, Any] = {
    "starts": np.int64,
    "sizes": np.uint32,
    "labels": np.int32,
    "names": np.uint8,
    "name_ends": np.int64,
    "shard_ends": np.int64,
}
_OF_IMAGES = ("starts", "sizes", "labels", "name_ends")


class Sample(NamedTuple):
    """An image of a shard: its name there, where its bytes are, and its class or ""."""

    name: str
    start: int
    size: int
    label: str


class ShardFiles:
    """Images in shards, as `images.Files`; pickled, it is what opens the index again."""

    def __init__(self, folder: Path, shards: tuple[str, ...], states: tuple[bytes, ...]):
        self._given = (folder, shards, states)
        self._columns = _map_index(folder, len(shards))
        self.digest = folder.name

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardFiles, self._given

    def __len__(self) -> int:
        return len(self._columns["starts"])

    def bytes_of(self, number: int) -> bytes:
        """What an image's file holds; raises `UserError` where its shard has changed."""
        _, shards, states = self._given
        shard = self._shard(number)
        start, size = (int(self._columns[name][number]) for name in ("starts", "sizes"))
        return _read(shards[shard], states[shard], start, size)

    def name(self, number: int) -> str:
        """The name that an image has in its shard."""
        ends = self._columns["name_ends"]
        start = int(ends[number - 1]) if number else 0
        return bytes(self._columns["names"][start : int(ends[number])]).decode(
            "utf-8", "surrogateescape"
        )

    def path(self, number: int) -> str:
        """What a person finds an image by."""
        return f"{self._given[1][self._shard(number)]}/{self.name(number)}"

    def _shard(self, number: int) -> int:
        """The shard that holds an image."""
        return int(np.searchsorted(self._columns["shard_ends"], number, side="right"))


def is_shards(path: str) -> bool:
    """Whether a path names tar shards: several by a range of numbers, or at a place of fsspec.

    Example:
      >>> is_shards("cars/shard-{000..011}.tar"), is_shards("gs://cars/a.tar"), is_shards("a.tar")
      (True, True, False)
    """
    return bool(_RANGE.search(path)) or "://" in path


def expand(path: str) -> tuple[str, ...]:
    """The names of the shards that a path stands for.

    Args:
      path: with a range of numbers {FIRST..LAST}, of as many digits as FIRST has, or without.

    Raises:
      UserError: several ranges, one that ends before it begins, or too many shards.

    Example:
      >>> expand("s-{008..010}.tar")
      ('s-008.tar', 's-009.tar', 's-010.tar')
    """
    found = list(_RANGE.finditer(path))
    if not found:
        return (path,)
    first, last = found[0].groups()
    if len(found) > 1 or not 0 <= int(last) - int(first) < _MOST_SHARDS:
        raise UserError(
            f"data.path: must have one range of shards, such as {{000000..000999}} (got {path}); "
            "write the first number, two dots and the last one"
        )
    numbers = range(int(first), int(last) + 1)
    before, after = path[: found[0].start()], path[found[0].end() :]
    return tuple(f"{before}{number:0{len(first)}}{after}" for number in numbers)


def shard_listing(path: str, *, labelled: bool) -> Listing:
    """The images of shards, in the order of shards and of the files in them.

    The index is made once for a state of the shards and lies in the user's cache: 24 bytes an image
    and its name, of which what is used is mapped to memory.

    Args:
      path: of a shard, or several with a range of numbers; on disk, or a URL that fsspec reads.
      labelled: whether each image has a class.

    Returns:
      The listing; without labels the one class of all is "".

    Raises:
      UserError: a shard is missing or damaged, an image has no class, or a sample two images.
    """
    shards = expand(path)
    states = tuple(map(_state, shards))
    places = [each if "://" in each else os.path.abspath(each) for each in shards]
    facts = json.dumps([_VERSION, labelled, *places]).encode()
    folder = cache_folder("shards") / digest([facts, *states], "blake2b")
    if not folder.is_dir():
        try:
            with replacing_cached(folder, folder=True) as beside:
                _write_index(beside, path, shards, labelled=labelled)
        except UserError:
            # Another run may have been faster; its index is the same.
            if not folder.is_dir():
                raise
    files = ShardFiles(folder, shards, states)
    names = read_json(folder / "classes.json", f"delete {folder}")
    labels = np.array(_map(folder, "labels"))
    parts = np.full(len(labels), UNGIVEN, np.int8)
    return Listing(files, labels, tuple(names), parts, None)


def samples(shard: str, file: Any, *, labelled: bool) -> Iterator[Sample]:
    """The images of an open shard, in order.

    Args:
      shard: its name, for errors.
      file: its bytes.
      labelled: whether each image has a class; else classes are not looked at.

    Raises:
      UserError: a sample has two images or no class, or a class cannot be read.
    """
    key, image, label = None, None, ""

    def whole() -> Iterator[Sample]:
        if image is not None:
            if labelled and not label:
                raise UserError(
                    f"{shard}: {printable(image[0])} has no class; add {printable(str(key))}.cls, "
                    'or give data.source = "unlabelled"'
                )
            yield Sample(*image, label)

    for name, start, size in tar_entries(Path(shard), file):
        folder, _, base = name.rpartition("/")
        stem, _, kind = base.partition(".")
        own_key = f"{folder}/{stem}"
        if own_key != key:
            yield from whole()
            key, image, label = own_key, None, ""
        kind = kind.lower()
        if f".{kind.rpartition('.')[2]}" in SUFFIXES:
            if image is not None:
                raise UserError(
                    f"{shard}: {printable(own_key)} has two images, {printable(image[0])} and "
                    f"{printable(name)}; give each a key of its own"
                )
            image = (name, start, size)
        elif labelled and kind in ("cls", "json"):
            # What follows is sought for by its place.
            file.seek(start)
            label = _label(f"{shard}/{name}", kind, file.read(min(size, _MOST_OF_LABEL))) or label
    yield from whole()


def _label(where: str, kind: str, data: bytes) -> str:
    """The class in a file of a sample; a .json may have none."""
    try:
        text = data.decode("utf-8").strip()
        if kind == "cls":
            return clean(text)
        found = json.loads(text)
        value = found.get(_LABEL, "") if isinstance(found, dict) else ""
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{printable(where)}: cannot be read ({' '.join(str(error).split())[:100]}); write a "
            f'class as UTF-8 text, or JSON with the field "{_LABEL}"'
        ) from error
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UserError(
            f"{printable(where)}: {_LABEL} must be text or a whole number (got {value!r:.40})"
        )
    return clean(str(value))


def _write_index(folder: Path, path: str, shards: Iterable[str], *, labelled: bool) -> None:
    """Reads the headers of all shards and writes where their images are."""
    codes: dict[str, int] = {}
    labels, shard_ends, count, name_end = array("i"), array("q"), 0, 0
    with contextlib.ExitStack() as stack:
        written = ("starts", "sizes", "names", "name_ends")
        out = {name: stack.enter_context((folder / name).open("wb")) for name in written}
        for shard in tqdm(shards, desc="index of shards", unit="shard", disable=None):
            found = list(_samples_of(shard, labelled=labelled))
            names = [each.name.encode("utf-8", "surrogateescape") for each in found]
            ends = name_end + np.cumsum([len(name) for name in names], dtype=np.int64)
            name_end = int(ends[-1]) if len(ends) else name_end
            out["starts"].write(np.array([x.start for x in found], np.int64).tobytes())
            out["sizes"].write(np.array([x.size for x in found], np.uint32).tobytes())
            out["names"].write(b"".join(names))
            out["name_ends"].write(ends.tobytes())
            labels.extend(codes.setdefault(each.label, len(codes)) for each in found)
            count += len(found)
            shard_ends.append(count)
    if not count:
        raise UserError(f"{path}: holds no image; images end in {', '.join(SUFFIXES)}")
    ranks = natural_order(codes).astype(np.int32)
    (folder / "labels").write_bytes(ranks[np.array(labels, np.int64)].tobytes())
    (folder / "shard_ends").write_bytes(np.array(shard_ends, np.int64).tobytes())
    ordered = [list(codes)[index] for index in np.argsort(ranks)]
    (folder / "classes.json").write_text(json.dumps(ordered), encoding="utf-8")


def _samples_of(shard: str, *, labelled: bool) -> Iterator[Sample]:
    """The images of a shard that is not open yet."""
    try:
        with fsspec.open(shard, "rb") as file:
            yield from samples(shard, file, labelled=labelled)
    except (tarfile.TarError, EOFError) as error:
        raise UserError(
            f"{shard}: is no whole tar file ({' '.join(str(error).split())}); fetch it again"
        ) from error
    except OSError as error:
        raise read_error(Path(shard), error, "copy or fetch it again") from error


def _map_index(folder: Path, num_shards: int) -> dict[str, np.ndarray]:
    """The columns of an index, mapped."""
    columns = {name: _map(folder, name) for name in _COLUMNS}
    counts = {len(columns[name]) for name in _OF_IMAGES} | {int(columns["shard_ends"][-1])}
    if len(counts) > 1 or len(columns["shard_ends"]) != num_shards:
        raise UserError(f"{folder}: is damaged; delete it, and it is made again")
    return columns


def _map(folder: Path, name: str) -> np.ndarray:
    """A column of an index."""
    try:
        return np.memmap(folder / name, _COLUMNS[name], "r")
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / name}: is damaged ({error}); delete {folder}") from error


def _state(shard: str) -> bytes:
    """What changes when a shard does: size and time, or what its place says of it."""
    if "://" not in shard:
        if not os.path.isfile(shard):
            raise UserError(f"{shard}: must exist; give shards that are all there as data.path")
        return file_state(Path(shard))
    try:
        filesystem, inner = fsspec.core.url_to_fs(shard)
        return str(filesystem.ukey(inner)).encode()
    except (OSError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{shard}: cannot be reached ({reason}); check data.path") from error


def _read(shard: str, state: bytes, start: int, size: int) -> bytes:
    """A part of a shard."""
    if "://" not in shard:
        return read_part(Path(shard), state, start, size)
    try:
        filesystem, inner = fsspec.core.url_to_fs(shard)
        data = filesystem.cat_file(inner, start=start, end=start + size)
    except OSError as error:
        raise read_error(Path(shard), error, "try again") from error
    if len(data) != size:
        raise UserError(f"{shard}: has changed since it was listed; start again")
    return data
