"""The field's standard sets: which split, class and camera each file of their authors' belongs to.

A layout is read from file names and, where the authors give them, lists. Archives are named as they
are published; unpacked folders do as well.
"""

import io
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from darkrank_jax.data.files.archives import Entries, file_state, open_entries
from darkrank_jax.data.files.folders import is_hidden
from darkrank_jax.digests import digest
from darkrank_jax.errors import UserError

# Of the layout in which the sets are built.
VERSION = "1.0.0"


class Place(NamedTuple):
    """Where an image belongs: its part ("train", "test", "query" or "gallery"), class, camera."""

    part: str
    label: str
    camera: int = -1


# From the lists by the end of their names to the place of an image, or None for what is no image.
PlaceOf = Callable[[str], Place | None]


class StandardSet(NamedTuple):
    """A set as its authors publish it.

    Attributes:
      archives: names of the archives that hold it.
      lists: names of the files that say what is what.
      places: makes `PlaceOf` of the contents of the lists.
      counts: published images and classes of each part.
    """

    archives: tuple[str, ...]
    lists: tuple[str, ...]
    places: Callable[[Mapping[str, bytes]], PlaceOf]
    counts: dict[str, tuple[int, int]]


class Found(NamedTuple):
    """An image of a set, with what reads it."""

    name: str
    place: Place
    read: Callable[[str], bytes]


def find_images(name: str, folder: Path) -> list[Found]:
    """Finds the images of a set in its authors' archives, or in their unpacked folder.

    Args:
      name: in STANDARD_SETS.
      folder: that holds the archives or what was unpacked of them, at any depth, and the lists.

    Returns:
      The images in the order of their names.

    Raises:
      UserError: an archive or list is missing or damaged, or no image is found.
    """
    layout = STANDARD_SETS[name]
    if not folder.is_dir():
        raise UserError(f"{folder}: must be a folder; give the one that holds {_wanted(layout)}")
    loose = open_entries(folder)
    packed = [
        open_entries(folder / entry)
        for entry in sorted(loose.names)
        if Path(entry).name in layout.archives
    ]
    places = layout.places(_read_lists(name, folder, [loose, *packed]))
    found = [
        Found(entry, place, entries.read)
        for entries in packed or [loose]
        for entry in entries.names
        if not is_hidden(entry) and (place := places(entry))
    ]
    if not found:
        raise UserError(f"{folder}: holds no image of {name}; give {_wanted(layout)} or its folder")
    return sorted(found, key=lambda each: each.name)


def archives_digest(name: str, folder: Path) -> str:
    """A digest of names, sizes and times of a set's archives and lists, or of unpacked files.

    Archives may be moved, and other files may come beside them.

    Args:
      name: in STANDARD_SETS.
      folder: see `find_images`.

    Returns:
      32 hexadecimal digits.

    Raises:
      UserError: from `find_images`, where there is no archive.
    """
    layout = STANDARD_SETS[name]
    loose = sorted(open_entries(folder).names) if folder.is_dir() else []
    packed = [entry for entry in loose if Path(entry).name in layout.archives]
    lists = [entry for entry in loose if Path(entry).name in layout.lists]
    files = [(Path(entry).name, entry) for entry in packed + lists]
    if not packed:
        files += [(each.name, each.name) for each in find_images(name, folder)]
    seen = (
        called.encode("utf-8", "surrogateescape") + file_state(folder / entry)
        for called, entry in files
    )
    return digest(itertools.chain([name.encode()], seen), "blake2b")


def _wanted(layout: StandardSet) -> str:
    """The files that a user must have."""
    return ", ".join((*layout.archives, *layout.lists))


def _read_lists(name: str, folder: Path, sources: list[Entries]) -> dict[str, bytes]:
    """The lists of a set, wherever they lie."""
    lists = {}
    for wanted in STANDARD_SETS[name].lists:
        for entries in sources:
            for entry in entries.names:
                if Path(entry).name == wanted and not is_hidden(entry):
                    lists[wanted] = entries.read(entry)
        if wanted not in lists:
            raise UserError(f"{folder}: lacks {wanted} of {name}; put its authors' file there")
    return lists


def _list_lines(text: bytes, skip: int, columns: int, where: str) -> Iterator[list[str]]:
    """The words of each line of a list."""
    for line in text.decode("utf-8", "replace").splitlines()[skip:]:
        words = line.split()
        if words and len(words) != columns:
            raise UserError(f"{where}: has a line {line!r} without {columns} words; fetch it again")
        if words:
            yield words


def _by_pattern(pattern: str, place: Callable[[re.Match], Place | None]) -> PlaceOf:
    """Places that the name alone tells."""
    compiled = re.compile(pattern, re.IGNORECASE)

    def place_of(name: str) -> Place | None:
        match = compiled.search(name)
        return place(match) if match else None

    return place_of


def _by_list(listed: Mapping[str, Place], pattern: str) -> PlaceOf:
    """Places that a list tells; the pattern's group is the name as the list has it."""
    return _by_pattern(pattern, lambda match: listed.get(match[1]))


def _cub200(lists: Mapping[str, bytes]) -> PlaceOf:
    """Classes 1 to 100 train, 101 to 200 test."""
    del lists

    def place(match: re.Match) -> Place:
        return Place("train" if int(match[2]) <= 100 else "test", match[1])

    return _by_pattern(r"(?:^|/)images/((\d{3})\.[^/]+)/[^/]+\.jpg$", place)


def _cars196(lists: Mapping[str, bytes]) -> PlaceOf:
    """Classes 1 to 98 train, 99 to 196 test; the list is a MATLAB file."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content: Any = loadmat(io.BytesIO(lists["cars_annos.mat"]), squeeze_me=True)
        names = [str(name) for name in content["class_names"]]
        pairs = [
            (str(row["relative_im_path"]), int(row["class"])) for row in content["annotations"]
        ]
    except (ValueError, KeyError, TypeError, NotImplementedError, MatReadError) as error:
        raise UserError(f"cars_annos.mat: cannot be read ({error}); fetch it again") from error
    listed = {
        Path(path).name: Place(
            "train" if number <= 98 else "test", f"{number:03d} {names[number - 1]}"
        )
        for path, number in pairs
    }
    return _by_list(listed, r"(?:^|/)car_ims/([^/]+\.jpg)$")


def _sop(lists: Mapping[str, bytes]) -> PlaceOf:
    """The classes of Ebay_train.txt train, those of Ebay_test.txt test."""
    listed = {}
    for part in ("train", "test"):
        name = f"Ebay_{part}.txt"
        for _, label, _, path in _list_lines(lists[name], 1, 4, name):
            listed[path] = Place(part, f"{path.split('/')[0].removesuffix('_final')} {label}")
    return _by_list(listed, r"(?:^|/)([^/]+_final/[^/]+\.jpg)$")


def _inshop(lists: Mapping[str, bytes]) -> PlaceOf:
    """Train, query and gallery as list_eval_partition.txt has them."""
    (name,) = lists
    listed = {
        path: Place(part, label) for path, label, part in _list_lines(lists[name], 2, 3, name)
    }
    return _by_list(listed, r"(?:^|/)(?-i:(img/.+\.jpg))$")


def _reid(folder: str = "") -> Callable[[Mapping[str, bytes]], PlaceOf]:
    """Market-1501's layout: folders for the parts; identity and camera in the name.

    Identity -1 is junk, which the evaluation ignores and so is left out; 0 are distractors, which
    stay in the gallery as a class that no query is of.
    """
    parts = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}
    pattern = rf"(?:^|/){folder}({'|'.join(parts)})/(-?\d+)_c(\d+)[^/]*\.(?:jpg|png)$"

    def place(match: re.Match) -> Place | None:
        identity = int(match[2])
        if identity < 0:
            return None
        label = f"{identity:04d}" if identity else "0000 distractors"
        return Place(parts[match[1].lower()], label, int(match[3]))

    return lambda lists: _by_pattern(pattern, place)


def _msmt17(lists: Mapping[str, bytes]) -> PlaceOf:
    """The lists' parts, training and validation together; test numbers its people again."""
    listed = {}
    for word in ("train", "val", "query", "gallery"):
        name = f"list_{word}.txt"
        part, half = ("train", "train") if word in ("train", "val") else (word, "test")
        for path, _ in _list_lines(lists[name], 0, 2, name):
            identity, camera = path.split("/")[0], int(path.split("_")[2])
            listed[f"{half}/{path}"] = Place(part, f"{half} {identity}", camera)
    spelled = re.compile(r"mask_(train|test)_v2/")
    inner = _by_list(listed, r"(?:^|/)((?:train|test)/\d+/[^/]+\.jpg)$")
    return lambda name: inner(spelled.sub(r"\1/", name))


def _omniglot(lists: Mapping[str, bytes]) -> PlaceOf:
    """The background characters train, the evaluation characters test."""
    del lists
    parts = {"background": "train", "evaluation": "test"}
    return _by_pattern(
        r"(?:^|/)images_(background|evaluation)/([^/]+/[^/]+)/[^/]+\.png$",
        lambda match: Place(parts[match[1].lower()], match[2]),
    )


STANDARD_SETS = {
    "cub200": StandardSet(
        ("CUB_200_2011.tgz",), (), _cub200, {"train": (5864, 100), "test": (5924, 100)}
    ),
    "cars196": StandardSet(
        ("car_ims.tgz",),
        ("cars_annos.mat",),
        _cars196,
        {"train": (8054, 98), "test": (8131, 98)},
    ),
    "sop": StandardSet(
        ("Stanford_Online_Products.zip",),
        ("Ebay_train.txt", "Ebay_test.txt"),
        _sop,
        {"train": (59551, 11318), "test": (60502, 11316)},
    ),
    "inshop": StandardSet(
        ("img.zip",),
        ("list_eval_partition.txt",),
        _inshop,
        {"train": (25882, 3997), "query": (14218, 3985), "gallery": (12612, 3985)},
    ),
    "market1501": StandardSet(
        ("Market-1501-v15.09.15.zip",),
        (),
        _reid(),
        {"train": (12936, 751), "query": (3368, 750), "gallery": (15913, 751)},
    ),
    "dukemtmc_reid": StandardSet(
        ("DukeMTMC-reID.zip",),
        (),
        _reid(),
        {"train": (16522, 702), "query": (2228, 702), "gallery": (17661, 1110)},
    ),
    "cuhk03_detected": StandardSet(
        ("cuhk03-np.zip",),
        (),
        _reid("detected/"),
        {"train": (7365, 767), "query": (1400, 700), "gallery": (5332, 700)},
    ),
    "cuhk03_labeled": StandardSet(
        ("cuhk03-np.zip",),
        (),
        _reid("labeled/"),
        {"train": (7368, 767), "query": (1400, 700), "gallery": (5328, 700)},
    ),
    "msmt17": StandardSet(
        ("MSMT17_V1.tar.gz", "MSMT17_V2.tar.gz"),
        ("list_train.txt", "list_val.txt", "list_query.txt", "list_gallery.txt"),
        _msmt17,
        {"train": (32621, 1041), "query": (11659, 3060), "gallery": (82161, 3060)},
    ),
    "omniglot": StandardSet(
        ("images_background.zip", "images_evaluation.zip"),
        (),
        _omniglot,
        {"train": (19280, 964), "test": (13180, 659)},
    ),
}
