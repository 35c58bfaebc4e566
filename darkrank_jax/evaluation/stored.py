"""Embeddings in files: written by an evaluation as .npz, or by whatever else embeds images."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from darkrank_jax.data.images import ArrayImages, as_images
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.array_files import read_npz
from darkrank_jax.evaluation.embedding_files import described, read_embeddings
from darkrank_jax.evaluation.image_digests import is_digest
from darkrank_jax.files import replacing

_ARRAYS = ("labels", "class_names", "cameras", "queries", "images", "digest")
_ADVICE = "write it with numpy.savez"
_SHARED = "images.npz"


class StoredEmbeddings(NamedTuple):
    """Embeddings of a set of images.

    Attributes:
      embeddings: [n, dim] floats.
      labels: [n], 0 to len(class_names) - 1.
      class_names: what a person calls each class.
      images: uint8 [n, height, width, channels], or None.
      cameras: [n], which camera saw each image, -1 where that is unknown, or None.
      queries: bool [n], which search, and the others are the gallery, or None.
      digest: of the images, see `images_digest`, or None.
    """

    embeddings: Float[np.ndarray, "n dim"]
    labels: Int[np.ndarray, " n"]
    class_names: tuple[str, ...]
    images: ArrayImages | None
    cameras: Int[np.ndarray, " n"] | None
    queries: Bool[np.ndarray, " n"] | None
    digest: str | None


def write_stored(
    path: Path,
    embeddings: Float[np.ndarray, "n dim"],
    labels: Int[np.ndarray, " n"],
    class_names: Sequence[str],
    *,
    cameras: Int[np.ndarray, " n"] | None = None,
    queries: Bool[np.ndarray, " n"] | None = None,
    digest: str | None = None,
) -> None:
    """Writes the embeddings of one network.

    Args:
      path: of the .npz; its folder is made.
      embeddings: [n, dim].
      labels: [n], 0 to len(class_names) - 1.
      class_names: of the labels.
      cameras: [n], which camera saw each image, -1 where that is unknown.
      queries: [n], which search, where the others are the gallery.
      digest: of the images, see `images_digest`, where they are known.

    Raises:
      UserError: the file cannot be written.
    """
    arrays = {"embeddings": embeddings, "labels": labels}
    arrays["class_names"] = np.array(class_names, dtype=np.str_)
    known = {"cameras": cameras, "queries": queries}
    known["digest"] = None if digest is None else np.array(digest)
    _write(path, **arrays, **{name: rows for name, rows in known.items() if rows is not None})


def write_images(folder: Path, images: UInt8[np.ndarray, "n h w c"]) -> None:
    """Writes the images that the files of embeddings in a folder share."""
    _write(folder / _SHARED, images=images)


def read_stored(path: Path) -> StoredEmbeddings:
    """Reads embeddings, and checks them before anything is computed.

    The file holds `embeddings` or `vectors` [n, dim] and `labels` [n] of any integers or texts, and
    may hold `class_names`, of which the labels are then indices, `cameras` [n] of any integers
    (-1: unknown), `queries` bool [n], `digest`, the word of `images_digest`, and `images` uint8
    [n, h, w, c] with 1 or 3 channels, which may also lie in `images.npz` beside it. A gallery of
    `--mode embed` is such a file. Nothing in it is unpickled.

    Args:
      path: of the .npz, or of another kind that `read_embeddings` takes.

    Returns:
      What it holds; without class names, a class is called by its label.

    Raises:
      UserError: there is no such file, it is damaged, or its arrays do not fit together.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder, "student.npz")
      ...     np.savez(path, embeddings=np.eye(3), labels=np.array([7, 9, 7]))
      ...     stored = read_stored(path)
      >>> stored.labels.tolist(), stored.class_names
      ([0, 1, 0], ('7', '9'))
    """
    arrays = read_embeddings(path, _ARRAYS, _ADVICE)
    embeddings = arrays["vectors"]
    if "labels" not in arrays:
        found = ", ".join(sorted(arrays))
        raise UserError(f"{path}: has no labels, only {found}; store what each image is")
    cameras, queries = arrays.get("cameras"), arrays.get("queries")
    labels = _labels(path, arrays, len(embeddings))
    if cameras is not None:
        cameras = _integers(path, arrays, "cameras", len(embeddings))
    if queries is not None:
        queries = _marks(path, queries, len(embeddings))
    numbered, names = _classes(path, labels, arrays.get("class_names"))
    images = _images(path, arrays, len(labels))
    return StoredEmbeddings(
        embeddings, numbered, names, images, cameras, queries, _digest(path, arrays)
    )


def same_images(first: Int[np.ndarray, " _"], second: Int[np.ndarray, " _"]) -> bool:
    """Whether two sets of labels group the same number of rows in the same way.

    Example:
      >>> same_images(np.array([5, 5, 2]), np.array([0, 0, 1]))
      True
      >>> same_images(np.array([5, 5, 2]), np.array([0, 1, 1]))
      False
    """
    if len(first) != len(second):
        return False
    groups = [np.unique(labels, return_inverse=True)[1] for labels in (first, second)]
    pairs = np.unique(np.stack(groups), axis=1).shape[1]
    return bool(pairs == groups[0].max() + 1 == groups[1].max() + 1)


def _write(path: Path, **arrays: np.ndarray) -> None:
    """Writes a file whole or not at all."""
    with replacing(path) as beside, beside.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _integers(path: Path, arrays: dict[str, np.ndarray], name: str, count: int) -> np.ndarray:
    """An array of one integer an embedding."""
    found = arrays[name]
    if found.shape != (count,) or not np.issubdtype(found.dtype, np.integer):
        raise UserError(
            f"{path}: {name} must be integers [{count}], one an embedding (got {described(found)})"
        )
    return found


def _labels(path: Path, arrays: dict[str, np.ndarray], count: int) -> np.ndarray:
    """An integer or, where no names of classes are beside them, a text for each embedding."""
    labels = arrays["labels"]
    if labels.shape != (count,) or labels.dtype.kind != "U" or "class_names" in arrays:
        return _integers(path, arrays, "labels", count)
    empty = (labels == "").sum()
    if empty:
        raise UserError(f"{path}: {empty} of {count} labels are empty; say what each image is")
    return labels


def _marks(path: Path, queries: np.ndarray, count: int) -> np.ndarray:
    """Which embeddings search, at least one and not all."""
    if queries.shape != (count,) or queries.dtype != np.bool_:
        raise UserError(
            f"{path}: queries must be bool [{count}], one an embedding (got {described(queries)})"
        )
    if queries.all() or not queries.any():
        raise UserError(
            f"{path}: {queries.sum()} of {count} embeddings are queries; mark some, and leave some "
            "for the gallery"
        )
    return queries


def _digest(path: Path, arrays: dict[str, np.ndarray]) -> str | None:
    """The word for the images, or None where the file has none."""
    if "digest" not in arrays:
        return None
    found = arrays["digest"]
    if not is_digest(found.item() if found.ndim == 0 else found):
        raise UserError(
            f"{path}: digest is no word for images; leave it out, or write the file again with "
            "--mode eval --config.evaluation.save_embeddings=true"
        )
    return found.item()


def _classes(
    path: Path, labels: np.ndarray, names: np.ndarray | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels numbered from 0, and the names of the classes."""
    if names is None:
        values, numbered = np.unique(labels, return_inverse=True)
        return numbered, tuple(str(value) for value in values.tolist())
    if names.ndim != 1 or names.dtype.kind != "U":
        raise UserError(f"{path}: class_names must be texts [classes] (got {described(names)})")
    if len(labels) and (labels.min() < 0 or labels.max() >= len(names)):
        raise UserError(
            f"{path}: labels run from {labels.min()} to {labels.max()}, and there are "
            f"{len(names)} class_names; give labels from 0 to {len(names) - 1}"
        )
    return labels.astype(np.int64), tuple(names.tolist())


def _images(path: Path, arrays: dict[str, np.ndarray], count: int) -> ArrayImages | None:
    """The images of a file, or of the one beside it."""
    beside = path.with_name(_SHARED)
    if "images" not in arrays and beside.exists():
        arrays = read_npz(beside, lambda names: {"images"} & {*names}, _ADVICE)
    images = arrays.get("images")
    if images is None:
        return None
    if images.ndim != 4 or images.dtype != np.uint8 or images.shape[3] not in (1, 3):
        raise UserError(f"{path}: images must be uint8 [n, h, w, 1 or 3] (got {described(images)})")
    if len(images) != count:
        raise UserError(
            f"{path}: must have an image for each of {count} embeddings (got {len(images)})"
        )
    return as_images(images)
