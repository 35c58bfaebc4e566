"""A teacher's embeddings computed elsewhere, read from a file and matched to the images."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from darkrank_jax.data import Split
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.embedding_files import read_embeddings

_ADVICE = "save ids as strings or integers and vectors as numbers, with numpy.savez"


class TeacherEmbeddings(NamedTuple):
    """Embeddings of a training split.

    Attributes:
      vectors: [n, dim], in the order of the file.
      places: int [images], where in the file each image's vector is.
    """

    vectors: np.ndarray
    places: np.ndarray

    def of(self, rows: np.ndarray) -> np.ndarray:
        """The embeddings of some images of the split, float32 [len(rows), dim]."""
        return np.asarray(self.vectors[self.places[rows]], np.float32)


def read_teacher_embeddings(path: str | Path, split: Split) -> TeacherEmbeddings:
    """Reads embeddings and finds those of a split's images.

    Args:
      path: an .npz with "ids" and "vectors" or "embeddings", or a gallery of `--mode embed` in any
        format; an .npy of records with these two fields; or an .npy of vectors alone, in the order
        of the split. Ids are names of images as their source gives them, or row numbers of the
        split; others than the split's may be there.
      split: the images trained on.

    Returns:
      The vectors, not copied, and their places.

    Raises:
      UserError: no such file, another layout, ids that are double or that a name stands for in
        vain, missing ids (lists them), numbers that are not finite.
    """
    found = read_embeddings(Path(path), ["ids"], _ADVICE)
    vectors, ids = found["vectors"], found.get("ids")
    if ids is None and Path(path).suffix != ".npy":
        raise UserError(f"{path}: has no ids; {_ADVICE}")
    if ids is None:
        ids = np.arange(len(vectors))
        if len(vectors) > len(split.labels):
            raise UserError(
                f"{path}: has {len(vectors)} vectors for {len(split.labels)} training images; give "
                "ids, or the vectors of the training split alone"
            )
    return TeacherEmbeddings(vectors, _places(path, ids, split))


def read_held(path: str | Path, split: Split) -> np.ndarray:
    """The embeddings of held-out images, which a file has beside those of the training images.

    Args:
      path: as for `read_teacher_embeddings`, with the names of images as ids.
      split: the images.

    Returns:
      float32 [n, dim].

    Raises:
      UserError: the ids are row numbers, or as for `read_teacher_embeddings`.
    """
    ids = read_embeddings(Path(path), ["ids"], _ADVICE).get("ids")
    if ids is None or ids.dtype.kind in "iu":
        raise UserError(
            f"{path}: must have ids that are names of images, since images without labels are held "
            "out to choose the checkpoint; save the names with the vectors"
        )
    return read_teacher_embeddings(path, split).of(np.arange(len(split.labels)))


def _places(path: str | Path, ids: np.ndarray, split: Split) -> np.ndarray:
    """Where in the file each image of the split is."""
    wanted: Sequence[Any] = range(len(split.labels))
    if ids.dtype.kind not in "iu":
        # Sources whose images have names give them with the split.
        wanted = split.names
        if len(wanted) != len(split.labels):
            raise UserError(
                f"{path}: its ids are names, and this source's images have none; give row numbers "
                "of the training split"
            )
        ids = np.char.replace(ids.astype(str), "\\", "/")
        if not {*ids.tolist()} & {*wanted}:
            ids, wanted = _alike(ids.tolist(), wanted)
    place = {name: index for index, name in enumerate(ids.tolist())}
    if len(place) < len(ids):
        names, counts = np.unique(ids, return_counts=True)
        raise UserError(f"{path}: id {names[counts > 1][0]} is there twice; give each once")
    missing = [str(name) for name in wanted if name not in place]
    if len(missing) == len(wanted) and len(ids):
        raise UserError(
            f"{path}: none of its {len(ids)} ids is a training image: it has {str(ids[0])!r}, the "
            f"images are such as {missing[0]!r}; give the images' names, or row numbers"
        )
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise UserError(
            f"{path}: has no vector for {len(missing)} of {len(wanted)} training images: "
            f"{', '.join(missing[:5])}{more}; embed them too"
        )
    return np.array([place[name] for name in wanted])


def _alike(ids: Sequence[str], names: Sequence[str]) -> tuple[np.ndarray, Sequence[str]]:
    """Ids and names as both are written when one leaves out leading folders, or the suffix.

    Returns:
      The ends of the ids and of the names, where every name then has an id and no two of a side
      are one; else both as they are.
    """
    for drop_suffix in (False, True):
        own, wanted = ([_parts(each, drop_suffix) for each in side] for side in (ids, names))
        # The fewest folders that any of them has: what all of them state.
        depth = min(len(each) for each in (*own, *wanted))
        for kept in range(depth, 0, -1):
            ends, targets = (["/".join(each[-kept:]) for each in side] for side in (own, wanted))
            unique = len({*ends}) == len(ends) and len({*targets}) == len(targets)
            if unique and {*targets} <= {*ends}:
                return np.array(ends), targets
    return np.array(ids), names


def _parts(name: str, drop_suffix: bool) -> list[str]:
    """The folders and the name of a file, without its suffix if asked."""
    path = PurePosixPath(name)
    return [*(path.with_suffix("") if drop_suffix and path.name else path).parts]
