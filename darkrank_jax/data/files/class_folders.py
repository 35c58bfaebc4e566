"""Class and split of each image by the folders that it lies in."""

import itertools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from darkrank_jax.data.files.listing import Line
from darkrank_jax.data.files.parts import part_of, part_pair
from darkrank_jax.errors import UserError
from darkrank_jax.terminal import printable

Folders = Sequence[tuple[str, ...]]


def lines_of_folders(path: Path, names: Sequence[str]) -> Iterator[Line]:
    """The class folder of each image, and the split folder above it.

    A split is taken from folders only if every image lies in one, above its class folder. Folders
    that look like a split but cannot be taken as one are refused, so that what the user calls test
    is never trained on.

    Args:
      path: of the source, for errors.
      names: of the images, with slashes.

    Yields:
      A line for each image, in order.

    Raises:
      UserError: there is one class alone, an image lies in no class folder, or it is not clear
        whether a folder is a split or a class.
    """
    folders = [PurePosixPath(name).parts[:-1] for name in names]
    # Folders that hold everything say nothing, such as one that the whole archive lies in.
    pairs = zip(min(folders), max(folders), strict=False)
    outer = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
    distinct = sorted(set(folders))
    if len(distinct) == 1:
        found = printable("/".join(distinct[0]) or "no folder")
        raise UserError(
            f"{path}: holds images of one class alone ({found}); put each class in a folder of its "
            f"own, and give the folder of these{_backslash_hint(names)}"
        )
    if len(distinct[0]) == outer:
        name = names[folders.index(distinct[0])]
        raise UserError(
            f"{path}: {printable(name)} lies in no class folder; move it into one"
            f"{_backslash_hint(names)}"
        )
    split = _has_split(path, distinct, outer)
    _warn_of_nested(path, distinct, outer + split)
    for name, parts in zip(names, folders, strict=True):
        label = "/".join(part.strip() or part for part in parts[outer + split :])
        yield Line(name, label, (split and part_of(parts[outer])) or "")


def _has_split(path: Path, folders: Folders, level: int) -> bool:
    """Whether the folders at a level are splits; refuses what may be splits but is not clear."""
    tops = sorted({parts[level] for parts in folders})
    flat = sorted({parts[level] for parts in folders if len(parts) == level + 1})
    named = [top for top in tops if part_of(top)]
    other = [top for top in tops if not part_of(top)]
    split = bool(named) and not other
    # A class of trains may be called train.
    inner = [p for p in folders if {part_of(name) for name in p[level + 1 :]} - {None, "train"}]
    unclear = {name for parts in folders for name in parts[level:] if not part_of(name)}
    if split and flat:
        raise UserError(
            f"{path}: images lie directly in {printable(flat[0])}, which names a split, and in no "
            "class folder; move each into the folder of its class, or out of here"
        )
    if named and other and not _is_class_called_train(named, folders, level):
        raise UserError(
            f"{path}: {_listed(named)} names a split, but {_listed(other)} lies beside it; move "
            "that into a split or out of here, or rename what is a class"
        )
    if pair := part_pair(sorted(unclear)):
        raise UserError(
            f"{path}: {printable(pair[0])} and {printable(pair[1])} look like splits; rename them "
            "to train, validation, test, query or gallery, or otherwise if they are classes"
        )
    if inner:
        raise UserError(
            f"{path}: {printable('/'.join(inner[0]))} names a split below other folders; put the "
            "folders train and test above the class folders, or rename what is a class"
        )
    return split


def _is_class_called_train(named: list[str], folders: Folders, level: int) -> bool:
    """Whether the one folder named as a split is a class: the word, with images directly in it."""
    return [top.lower() for top in named] == ["train"] and all(
        len(parts) == level + 1 for parts in folders if parts[level] == named[0]
    )


def _warn_of_nested(path: Path, folders: Folders, level: int) -> None:
    """Warns of class folders that hold further class folders."""
    known = set(folders)
    above = {parts[:end] for parts in folders for end in range(level + 1, len(parts))} & known
    if above:
        line = "%s: %d folders hold both images and folders of images, each a class; first %s"
        first = printable("/".join(min(above)))
        logging.getLogger(__name__).warning(line, path, len(above), first)


def _listed(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many there are."""
    shown = ", ".join(printable(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _backslash_hint(names: Sequence[str]) -> str:
    """What to do where folders are a part of the file names."""
    found = next((name for name in names if "\\" in name), None)
    if found is None:
        return ""
    return f" (names have backslashes, such as {printable(found)}; give the archive they came in)"
