"""Embeddings with ids, in files that vector databases and data frames read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from darkrank_jax.errors import UserError
from darkrank_jax.export.source import KEY, read_texts, write_facts


class Gallery(NamedTuple):
    """Embedded images.

    Attributes:
      ids: their names, as the folder, archive or table has them.
      labels: what they are, or "" where nobody said.
      vectors: float32 [n, dim].
      facts: of the network that embedded them; "place" is where the images lie.
    """

    ids: np.ndarray
    labels: np.ndarray
    vectors: np.ndarray
    facts: dict[str, Any]


def write_gallery(gallery: Gallery, path: Path) -> None:
    """Writes a gallery in the format of the path's suffix.

    Args:
      gallery: the embeddings.
      path: .npz ("ids", "labels", "vectors", "facts"), .parquet (a row an image, columns "id",
        "label" and "vector"), or .faiss (an exact index; ids and labels in a .npz beside it).

    Raises:
      UserError: the suffix is another, its library is missing, or the file cannot be written.
    """
    writer, _ = _formats(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer(gallery, path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); give another --output"
        ) from error


def read_gallery(path: Path) -> Gallery:
    """Reads what `write_gallery` wrote.

    Args:
      path: of the file.

    Returns:
      The gallery.

    Raises:
      UserError: the file is missing, damaged or not of this kind, or its library is missing.
    """
    _, reader = _formats(path)
    if not path.is_file():
        raise UserError(f"{path}: is missing; --mode embed writes it")
    gallery = reader(path)
    counts = {len(gallery.ids), len(gallery.labels), len(gallery.vectors)}
    if len(counts) > 1:
        raise UserError(f"{path}: has not as many ids as vectors; embed the images again")
    return gallery


def _formats(path: Path) -> tuple[Callable[[Gallery, Path], None], Callable[[Path], Gallery]]:
    """Writer and reader of a path's format, for which all is installed."""
    if path.suffix not in _GALLERIES:
        raise UserError(f"{path}: is no {', '.join(_GALLERIES)}; give one of these")
    return _GALLERIES[path.suffix]


def _write_npz(gallery: Gallery, path: Path) -> None:
    with path.open("wb") as file:
        np.savez(
            file,
            ids=gallery.ids.astype(str),
            labels=gallery.labels.astype(str),
            vectors=gallery.vectors,
            facts=np.array(json.dumps(gallery.facts)),
        )


def _read_npz(path: Path) -> Gallery:
    """Arrays only; a pickle in the file is not opened."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            missing = {"ids", "labels", "vectors", "facts"} - set(arrays.files)
            if missing:
                raise ValueError(f"has no {sorted(missing)[0]}")
            facts = read_texts(path, {KEY: str(arrays["facts"])})
            return Gallery(arrays["ids"], arrays["labels"], arrays["vectors"], facts)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise _damaged(path, error) from error


def _write_parquet(gallery: Gallery, path: Path) -> None:
    pyarrow, parquet = _pyarrow(path)
    size = gallery.vectors.shape[1]
    flat = pyarrow.array(np.ascontiguousarray(gallery.vectors, np.float32).reshape(-1))
    columns = {
        "id": pyarrow.array(gallery.ids.tolist(), pyarrow.string()),
        "label": pyarrow.array(gallery.labels.tolist(), pyarrow.string()),
        "vector": pyarrow.FixedSizeListArray.from_arrays(flat, size),
    }
    table = pyarrow.table(columns).replace_schema_metadata(write_facts(gallery.facts))
    parquet.write_table(table, path)


def _read_parquet(path: Path) -> Gallery:
    pyarrow, parquet = _pyarrow(path)
    try:
        table = parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    texts = {key.decode(): text.decode() for key, text in (table.schema.metadata or {}).items()}
    facts = read_texts(path, texts)
    vectors = table["vector"].combine_chunks().flatten().to_numpy()
    return Gallery(
        np.array(table["id"].to_pylist(), str),
        np.array(table["label"].to_pylist(), str),
        vectors.reshape(len(table), -1),
        facts,
    )


def _write_faiss(gallery: Gallery, path: Path) -> None:
    faiss = _faiss(path)
    index = faiss.IndexFlatL2(gallery.vectors.shape[1])
    index.add(np.ascontiguousarray(gallery.vectors, np.float32))
    # Through bytes, so that an unwritable path is Python's error.
    path.write_bytes(faiss.serialize_index(index).tobytes())
    none = np.zeros((len(gallery.ids), 0), np.float32)
    _write_npz(gallery._replace(vectors=none), _beside(path))


def _read_faiss(path: Path) -> Gallery:
    faiss = _faiss(path)
    try:
        index = faiss.deserialize_index(np.frombuffer(path.read_bytes(), np.uint8))
        vectors = index.reconstruct_n(0, index.ntotal)
    except (RuntimeError, OSError) as error:
        raise _damaged(path, error) from error
    return _read_npz(_beside(path))._replace(vectors=vectors)


def _beside(path: Path) -> Path:
    """Where the ids of an index lie, which has only numbers."""
    return path.with_name(f"{path.name}.npz")


def _pyarrow(path: Path) -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise _missing(path, "pyarrow") from None
    return pyarrow, parquet


def _faiss(path: Path) -> Any:
    try:
        import faiss
    except ImportError:
        raise _missing(path, "faiss-cpu") from None
    return faiss


def _missing(path: Path, package: str) -> UserError:
    return UserError(f"{path}: needs {package}; run `pip install {package}`, or give an .npz")


def _damaged(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:200]
    return UserError(f"{path}: cannot be read ({reason}); embed the images again")


_GALLERIES: dict[str, tuple[Callable[[Gallery, Path], None], Callable[[Path], Gallery]]] = {
    ".npz": (_write_npz, _read_npz),
    ".parquet": (_write_parquet, _read_parquet),
    ".faiss": (_write_faiss, _read_faiss),
}
