"""A teacher's embeddings computed elsewhere, read from a file and matched to the images."""

from collections.abc import Sequence
from pathlib import Path
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
    place = {name: index for index, name in enumerate(ids.tolist())}
    if len(place) < len(ids):
        names, counts = np.unique(ids, return_counts=True)
        raise UserError(f"{path}: id {names[counts > 1][0]} is there twice; give each once")
    missing = [str(name) for name in wanted if name not in place]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise UserError(
            f"{path}: has no vector for {len(missing)} of {len(wanted)} training images: "
            f"{', '.join(missing[:5])}{more}; embed them too"
        )
    return np.array([place[name] for name in wanted])
