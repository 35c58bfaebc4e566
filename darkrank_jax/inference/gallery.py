"""Embeddings with ids, in files that vector databases and data frames read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from darkrank_jax.digests import digest
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.embedding_files import (
    COLUMNS,
    described,
    escape,
    load_pyarrow,
    read_embeddings,
    write_index,
)
from darkrank_jax.export.facts import CHECKSUM, KEY, parse_facts, write_facts
from darkrank_jax.files import replacing

_ADVICE = "embed the images again with --mode embed"
_ARRAYS = ("ids", "labels", "facts", "checksum")


class Gallery(NamedTuple):
    """Embedded images.

    Attributes:
      ids: their names, as the folder, archive or table has them; a table may name one twice.
      labels: what they are, or "" where nobody said.
      vectors: float32 [n, dim].
      facts: of the network that embedded them; "place" is where the images lie.
    """

    ids: np.ndarray
    labels: np.ndarray
    vectors: np.ndarray
    facts: dict[str, Any]


def write_gallery(gallery: Gallery, path: Path) -> None:
    """Writes a gallery in the format of the path's suffix, whole or not at all.

    Args:
      gallery: the embeddings.
      path: .npz ("ids", "labels", "vectors", "facts"), .parquet (a row an image, columns "id",
        "label" and "vector"), or .faiss (an exact index; ids and labels in a .npz beside it).

    Raises:
      UserError: the suffix is another, its library is missing, or the file cannot be written.
    """
    check_format(path)
    _WRITERS[path.suffix](gallery, path)


def read_gallery(path: Path) -> Gallery:
    """Reads what `write_gallery` wrote.

    Args:
      path: of the file.

    Returns:
      The gallery.

    Raises:
      UserError: the file is missing, damaged or not a gallery, its library is missing, or an
        index and the .npz beside it do not belong together.
    """
    check_format(path)
    found = read_embeddings(path, _ARRAYS, _ADVICE)
    for name in ("ids", "labels", "facts"):
        if name not in found:
            raise UserError(f"{path}: has no {name}; {_ADVICE}")
    count, labels = len(found["vectors"]), found["labels"]
    for name in ("ids", "labels"):
        if found[name].shape != (count,) or found[name].dtype.kind != "U":
            said = described(found[name])
            raise UserError(f"{path}: {name} must be texts [{count}] (got {said}); {_ADVICE}")
    facts = parse_facts(path, {KEY: str(found["facts"])}, "place")
    if found["vectors"].shape[1] != facts["embedding_dim"]:
        raise UserError(
            f"{path}: vectors must have facts.embedding_dim = {facts['embedding_dim']} numbers "
            f"(got {found['vectors'].shape[1]}); {_ADVICE}"
        )
    gallery = Gallery(found["ids"], labels, found["vectors"], facts)
    # A single file without one is of an earlier version, or was changed on purpose.
    is_pair = path.suffix == ".faiss"
    if ("checksum" in found or is_pair) and str(found.get("checksum")) != _checksum(gallery):
        what = f"does not belong to {_beside(path).name}" if is_pair else "is damaged"
        raise UserError(f"{path}: {what} (checksums differ); {_ADVICE}")
    return gallery


def check_format(path: Path) -> None:
    """Refuses a path of a suffix that no gallery has, or for which a library is missing."""
    if path.suffix not in _WRITERS:
        raise UserError(f"{path}: must be a gallery, which is one of {', '.join(_WRITERS)}")
    if path.suffix == ".parquet":
        load_pyarrow(path)


def _checksum(gallery: Gallery) -> str:
    """The digest of all that a gallery holds."""
    texts = [json.dumps(gallery.facts, sort_keys=True), *gallery.ids.tolist()]
    texts += gallery.labels.tolist()
    vectors = np.ascontiguousarray(gallery.vectors, "<f4").data
    return digest([json.dumps(texts).encode(), vectors], "blake2b-128")


def _write_npz(gallery: Gallery, path: Path) -> None:
    with replacing(path) as beside:
        _save_npz(beside, _texts(gallery) | {"vectors": gallery.vectors})


def _texts(gallery: Gallery) -> dict[str, np.ndarray]:
    """Everything but the vectors, as arrays."""
    return {
        "ids": gallery.ids.astype(str),
        "labels": gallery.labels.astype(str),
        "facts": np.array(json.dumps(gallery.facts)),
        "checksum": np.array(_checksum(gallery)),
    }


def _save_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _write_parquet(gallery: Gallery, path: Path) -> None:
    pyarrow = load_pyarrow(path)
    flat = pyarrow.array(np.ascontiguousarray(gallery.vectors, np.float32).reshape(-1))
    texts = {"ids": gallery.ids, "labels": gallery.labels}
    columns = {
        COLUMNS[name]: pyarrow.array([escape(text) for text in values.tolist()], pyarrow.string())
        for name, values in texts.items()
    }
    size = gallery.vectors.shape[1]
    columns[COLUMNS["vectors"]] = pyarrow.FixedSizeListArray.from_arrays(flat, size)
    metadata = write_facts(gallery.facts) | {CHECKSUM: _checksum(gallery)}
    table = pyarrow.table(columns).replace_schema_metadata(metadata)
    with replacing(path) as beside, beside.open("wb") as file:
        pyarrow.parquet.write_table(table, file, write_page_checksum=True)


def _write_faiss(gallery: Gallery, path: Path) -> None:
    # Both are whole before either is replaced.
    with replacing(_beside(path)) as texts, replacing(path) as index:
        index.write_bytes(write_index(gallery.vectors))
        _save_npz(texts, _texts(gallery))


def _beside(path: Path) -> Path:
    """Where the ids of an index lie, which has only numbers."""
    return path.with_name(f"{path.name}.npz")


_WRITERS: dict[str, Callable[[Gallery, Path], None]] = {
    ".npz": _write_npz,
    ".parquet": _write_parquet,
    ".faiss": _write_faiss,
}
ENDINGS = tuple(_WRITERS)
