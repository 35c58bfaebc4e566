"""Approximate indexes of a gallery for faiss, and the share of the nearest that they find."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from darkrank_jax.errors import UserError, nearest
from darkrank_jax.evaluation.neighbors import nearest_neighbors
from darkrank_jax.extras import MissingExtra, install
from darkrank_jax.files import replacing

# Rows that search the gallery to measure an index, and neighbours that each has.
QUERIES, NEIGHBORS = 1000, 10
# Links of a row in the graph, and rows that are looked at in a search.
_LINKS, _LOOKED_AT = 32, 128
# k-means wants as many rows for each of its centres.
_ROWS_A_CENTRE = 39
_CODES = 256
# Numbers of a vector that one code stands for, and the share of the lists that a search opens.
_NUMBERS_A_CODE, _OPENED = 4, 1 / 16


class Index(NamedTuple):
    """An index in a file.

    Attributes:
      path: that `faiss.read_index` reads; row i is row i of the gallery.
      recall: share of the 10 nearest by exact search that its 10 nearest hold, of up to 1,000
        rows of the gallery, each without itself.
    """

    path: Path
    recall: float


def write_approximate(vectors: np.ndarray, kind: str, path: Path) -> Index:
    """Writes an approximate index, whole or not at all, and compares it with the exact search.

    Args:
      vectors: float32 [n, dim].
      kind: "hnsw", a graph of neighbours beside the vectors, or "ivf_pq", lists of codes: a byte
        for four numbers, and eight bytes a row.
      path: of the index.

    Returns:
      The index.

    Raises:
      UserError: the kind is unknown, there are too few rows for it, faiss is missing, or the file
        cannot be written.
    """
    check_kind(kind)
    faiss = load_faiss(path)
    index = KINDS[kind](faiss, np.ascontiguousarray(vectors, np.float32))
    with replacing(path) as beside:
        beside.write_bytes(faiss.serialize_index(index).tobytes())
    return Index(path, _recall(index, vectors))


def check_kind(kind: str) -> None:
    """Refuses a kind of index that there is not."""
    if kind not in KINDS:
        raise UserError(f"--index: unknown name {kind!r}; {nearest(kind, KINDS)}")


def load_faiss(path: Path) -> Any:
    """The module faiss, or a `UserError` that says how to get it."""
    try:
        import faiss
    except ImportError:
        raise MissingExtra(f"{path}: needs faiss; run `{install(['faiss'])}`") from None
    return faiss


def _hnsw(faiss: Any, vectors: np.ndarray) -> Any:
    index = faiss.IndexHNSWFlat(vectors.shape[1], _LINKS)
    index.hnsw.efSearch = _LOOKED_AT
    index.add(vectors)
    return index


def _ivf_pq(faiss: Any, vectors: np.ndarray) -> Any:
    count, dim = vectors.shape
    least = _ROWS_A_CENTRE * _CODES
    if count < least:
        raise UserError(
            f"--index: must be hnsw for {count:,} images (got ivf_pq, whose codes are learned from "
            f"{least:,} or more)"
        )
    codes = max(n for n in range(1, max(1, dim // _NUMBERS_A_CODE) + 1) if dim % n == 0)
    lists = min(round(4 * count**0.5), count // _ROWS_A_CENTRE)
    index = faiss.IndexIVFPQ(faiss.IndexFlatL2(dim), dim, lists, codes, 8)
    index.nprobe = max(1, round(_OPENED * lists))
    index.train(vectors)
    index.add(vectors)
    return index


def _recall(index: Any, vectors: np.ndarray) -> float:
    """The share of the exact neighbours that an index finds."""
    count = len(vectors)
    k = min(NEIGHBORS, count - 1)
    if k < 1:
        return 1.0
    rows = np.linspace(0, count - 1, min(QUERIES, count)).astype(int)
    queries = np.ascontiguousarray(vectors[rows], np.float32)
    _, exact = nearest_neighbors(queries, vectors, k=k + 1)
    _, found = index.search(queries, k + 1)
    shares = [
        len(_others(own, best, k) & _others(own, near, k)) / k
        for own, best, near in zip(rows.tolist(), exact, found, strict=True)
    ]
    return float(np.mean(shares))


def _others(own: int, near: np.ndarray, k: int) -> set[int]:
    """The first k neighbours of a row that are not itself."""
    return {*[place for place in near.tolist() if place != own][:k]}


KINDS: dict[str, Callable[[Any, np.ndarray], Any]] = {"hnsw": _hnsw, "ivf_pq": _ivf_pq}
