"""The one reader of stored embeddings: .npz, .npy, Parquet and faiss, checked as a whole."""

import re
import struct
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.array_files import (
    BROKEN,
    Choose,
    check_growth,
    check_regular,
    map_npy,
    read_npz,
    unreadable,
)
from darkrank_jax.extras import MissingExtra, install

# Either name is taken; `--mode embed` writes the second.
_NAMES = ("embeddings", "vectors")
# Name of an array -> column of a Parquet table.
COLUMNS = {"ids": "id", "labels": "label", "vectors": "vector"}
# Name of a text -> key in the metadata of a Parquet table.
TEXTS = {"facts": "darkrank_jax", "checksum": "darkrank_jax_checksum"}
# An exact index of faiss: kind, dimension, rows, two unused, whether trained, metric (1 is L2),
# numbers that follow. Read here, since faiss trusts what it reads.
_INDEX = struct.Struct("<4siqqq?iQ")
_INDEX_KIND, _UNUSED, _L2 = b"IxF2", 2**20, 1
# Rows of a Parquet table that are read at once, and rows that are looked at for NaN at once.
_BATCH, _CHUNK = 1 << 12, 1 << 16
_LARGEST_CHARACTER = 0x10FFFF
# Of file names: bytes that are not UTF-8 (lone surrogates in Python), and text that looks as they
# are written.
_LONE = re.compile("[\ud800-\udfff]|" + r"\\(?=ud[89a-f][0-9a-f]{2}|u005c)")
_ESCAPED = re.compile(r"\\u(d[89a-f][0-9a-f]{2}|005c)")


def read_embeddings(path: Path, wanted: Collection[str], advice: str) -> dict[str, np.ndarray]:
    """Reads embeddings and what belongs to them, checked before anything is computed.

    Args:
      path: .npz or .npy of NumPy, .parquet (a row an image, columns "id", "label", "vector"), or
        .faiss (an exact index of L2 distances, with an .npz beside it).
      wanted: names of arrays that are read where the file has them: "ids", "labels", "facts", ...
      advice: what to do about a damaged file, to end the error with.

    Returns:
      "vectors" [n, dim], numbers that are finite in float32, n and dim at least 1; and those of
      `wanted` that are there, of which "ids" [n] are texts or integers. An .npy is mapped, not
      read.

    Raises:
      UserError: the file is missing, damaged, or of another kind; its library is missing; its
        parts do not fit together.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder, "e.npz")
      ...     np.savez(path, ids=["a", "b"], embeddings=np.eye(2), mean=0.5)
      ...     found = read_embeddings(path, ["ids", "labels"], "embed again")
      >>> sorted(found), found["ids"].tolist()
      (['ids', 'vectors'], ['a', 'b'])
    """
    if path.suffix not in _READERS:
        raise UserError(f"{path}: must be one of {', '.join(_READERS)}; {advice}")
    check_regular(path, advice)

    def choose(names: list[str]) -> list[str]:
        return [_embeddings_name(path, names), *(name for name in wanted if name in names)]

    found = _READERS[path.suffix](path, choose, advice)
    vectors = found.pop(_embeddings_name(path, list(found)))
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or not vectors.size:
        raise UserError(
            f"{path}: embeddings must be numbers [n, dim] (got {described(vectors)}); {advice}"
        )
    _check_characters(path, found, advice)
    if "ids" in found:
        found["ids"] = _ids(path, found["ids"], len(vectors), advice)
    _check_finite(path, vectors, found.get("ids"))
    return found | {"vectors": vectors}


def described(array: np.ndarray) -> str:
    """Type and shape of an array in words.

    Example:
      >>> described(np.zeros((2, 3), np.float32))
      'float32 [2, 3]'
    """
    return f"{array.dtype} {list(array.shape)}"


def escape(name: str) -> str:
    r"""A name as text that UTF-8 can hold; `unescape` gives the name again.

    Python keeps a byte of a file name that is not UTF-8 as a lone surrogate, here written as an
    escape. A backslash stays unless it begins what looks like one.

    Example:
      >>> print(escape("caf\udce9.png"), escape(r"a\b"), escape(r"a\udce9"))
      caf\udce9.png a\b a\u005cudce9
    """
    return _LONE.sub(lambda found: f"\\u{ord(found[0]):04x}", name)


def unescape(text: str) -> str:
    r"""The name that `escape` was given.

    Example:
      >>> unescape(escape("\udce9\\udce9\\u005c")) == "\udce9\\udce9\\u005c"
      True
    """
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)


def write_index(vectors: np.ndarray) -> bytes:
    """The bytes of faiss's exact index of L2 distances (IndexFlatL2).

    Args:
      vectors: float32 [n, dim].

    Returns:
      What `faiss.read_index` reads.
    """
    count, dim = vectors.shape
    start = _INDEX.pack(_INDEX_KIND, dim, count, _UNUSED, _UNUSED, True, _L2, vectors.size)
    return start + np.ascontiguousarray(vectors, "<f4").tobytes()


def _embeddings_name(path: Path, names: Collection[str]) -> str:
    """The name under which a file has its embeddings."""
    found = [name for name in _NAMES if name in names]
    if len(found) != 1:
        has = ", ".join(sorted(names)) or "nothing"
        raise UserError(f"{path}: has {has}; store either embeddings or vectors [n, dim]")
    return found[0]


def _read_npy(path: Path, choose: Choose, advice: str) -> dict[str, np.ndarray]:
    """Records with fields, or vectors alone."""
    records = map_npy(path, advice)
    if records.dtype.names is None:
        return {"vectors": records}
    return {name: records[name] for name in choose(list(records.dtype.names))}


def _read_faiss(path: Path, choose: Choose, advice: str) -> dict[str, np.ndarray]:
    """The vectors of an index, and the rest of the .npz beside it."""
    beside = path.with_name(f"{path.name}.npz")
    found = read_npz(beside, lambda names: set(choose([*names, "vectors"])) - {"vectors"}, advice)
    try:
        held = path.stat().st_size - _INDEX.size
        with path.open("rb") as file:
            kind, dim, count, _, _, _, metric, size = _INDEX.unpack(file.read(_INDEX.size))
            if (kind, metric) != (_INDEX_KIND, _L2):
                raise ValueError(f"kind {kind!r} with metric {metric}, not an IndexFlatL2")
            if dim < 1 or count < 1 or size != dim * count or held != 4 * size:
                raise ValueError(f"states {count:,} vectors of {dim:,} and holds {held:,} bytes")
            vectors = np.memmap(file, "<f4", "r", offset=_INDEX.size, shape=(count, dim))
    except BROKEN as error:
        raise unreadable(path, error, advice) from error
    return found | {"vectors": vectors}


def _read_parquet(path: Path, choose: Choose, advice: str) -> dict[str, np.ndarray]:
    """Columns of a table, and texts of its metadata."""
    pyarrow = load_pyarrow(path)
    try:
        with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            texts = _texts(file.schema_arrow.metadata or {})
            there = [name for name, column in COLUMNS.items() if column in file.schema_arrow.names]
            chosen = list(choose([*there, *texts]))
            columns = [COLUMNS[name] for name in chosen if name in COLUMNS]
            table = _read_columns(path, file, columns)
            found = {name: texts[name] for name in chosen if name in texts}
            for name in chosen:
                if name in COLUMNS:
                    convert = _vectors if name == "vectors" else _column
                    found[name] = convert(path, COLUMNS[name], table, advice)
            return found
    except (*BROKEN, pyarrow.ArrowException, KeyError) as error:
        raise unreadable(path, error, advice) from error


def load_pyarrow(path: Path) -> Any:
    """The module pyarrow with its parts, or a `UserError` that says how to get it."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra(
            f"{path}: needs pyarrow; run `{install(['pyarrow'])}`, or use an .npz"
        ) from None
    return pyarrow


def _texts(metadata: dict[bytes, bytes]) -> dict[str, np.ndarray]:
    """The texts that the metadata of a table has."""
    return {
        name: np.array(metadata[key.encode()].decode())
        for name, key in TEXTS.items()
        if key.encode() in metadata
    }


def _read_columns(path: Path, file: Any, columns: list[str]) -> Any:
    """Columns of a table; a small file of repetitions does not fill the memory."""
    pyarrow = load_pyarrow(path)
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    parts = [group.column(i) for group in groups for i in range(group.num_columns)]
    # A number may take less than a bit in the file; strings are counted once they are read.
    check_growth(
        path, sum(max(4 * part.num_values, part.total_uncompressed_size) for part in parts)
    )
    batches, size = [], 0
    for batch in file.iter_batches(_BATCH, columns=columns):
        size += batch.nbytes
        check_growth(path, size)
        batches.append(batch)
    fields = [file.schema_arrow.field(column) for column in columns]
    return pyarrow.Table.from_batches(batches, pyarrow.schema(fields)).combine_chunks()


def _vectors(path: Path, column: str, table: Any, advice: str) -> np.ndarray:
    """A column of lists, all of one length."""
    pyarrow = load_pyarrow(path)
    values, kind = table[column], table[column].type
    types = pyarrow.types
    if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
        raise _refused(path, column, "lists of numbers", kind, advice)
    _check_full(path, column, values, advice)
    lengths = pyarrow.compute.list_value_length(values).to_numpy()
    wrong = np.flatnonzero(lengths != lengths[:1])
    if wrong.size:
        raise UserError(
            f"{path}: row {wrong[0] + 1} of {column!r} has {lengths[wrong[0]]} numbers and row 1 "
            f"has {lengths[0]}; {advice}"
        )
    flat = pyarrow.compute.list_flatten(values)
    if flat.null_count:
        row = pyarrow.compute.is_null(flat).to_numpy().argmax() // lengths[0] + 1
        raise UserError(f"{path}: row {row} of {column!r} lacks a number; {advice}")
    if not (types.is_floating(flat.type) or types.is_integer(flat.type)):
        raise _refused(path, column, "lists of numbers", kind, advice)
    return flat.to_numpy().reshape(len(lengths), -1) if flat.length() else np.zeros((0, 0))


def _column(path: Path, column: str, table: Any, advice: str) -> np.ndarray:
    """A column of texts or integers."""
    types, values = load_pyarrow(path).types, table[column]
    if types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    _check_full(path, column, values, advice)
    if types.is_integer(values.type):
        return values.to_numpy()
    if not (types.is_string(values.type) or types.is_large_string(values.type)):
        raise _refused(path, column, "texts or integers", values.type, advice)
    texts = [unescape(text) for text in values.to_pylist()]
    # NumPy gives each text the room of the longest.
    check_growth(path, 4 * len(texts) * max(map(len, texts), default=0))
    return np.array(texts, str)


def _check_full(path: Path, column: str, values: Any, advice: str) -> None:
    """Refuses a column in which a row has no value."""
    if values.null_count:
        row = load_pyarrow(path).compute.is_null(values).to_numpy().argmax() + 1
        raise UserError(f"{path}: row {row} has no {column!r}; {advice}")


def _refused(path: Path, column: str, kind: str, got: Any, advice: str) -> UserError:
    """The error of a column of another type."""
    return UserError(f"{path}: column {column!r} must be {kind} (got {got}); {advice}")


def _check_characters(path: Path, arrays: dict[str, np.ndarray], advice: str) -> None:
    """Refuses texts with numbers that are no characters, at which Python would fail later."""
    for name, array in arrays.items():
        if array.dtype.kind == "U" and array.size:
            codes = np.ascontiguousarray(array).view(f"{array.dtype.byteorder}u4")
            if codes.max() > _LARGEST_CHARACTER:
                raise UserError(f"{path}: {name} must be texts (got other bytes); {advice}")


def _ids(path: Path, ids: np.ndarray, count: int, advice: str) -> np.ndarray:
    """Ids, one for each vector."""
    if ids.ndim != 1 or ids.dtype.kind not in "USiu":
        raise UserError(
            f"{path}: ids must be texts or integers [n] (got {described(ids)}); {advice}"
        )
    if len(ids) != count:
        raise UserError(f"{path}: has {len(ids)} ids for {count} vectors; {advice}")
    return np.char.decode(ids, "utf-8", "surrogateescape") if ids.dtype.kind == "S" else ids


def _check_finite(path: Path, vectors: np.ndarray, ids: np.ndarray | None) -> None:
    """Refuses vectors that are not finite in float32; in chunks, as they may exceed the memory."""
    for start in range(0, len(vectors), _CHUNK):
        with np.errstate(over="ignore", invalid="ignore"):
            chunk = vectors[start : start + _CHUNK].astype(np.float32)
        wrong = np.flatnonzero(~np.isfinite(chunk).all(axis=1))
        if wrong.size:
            row = start + wrong[0]
            owner = f"row {row}" if ids is None else f"id {ids[row]}"
            raise UserError(
                f"{path}: the vector of {owner} is not finite in float32; fix or leave out what "
                "made it"
            )


_READERS: dict[str, Callable[[Path, Choose, str], dict[str, np.ndarray]]] = {
    ".npz": read_npz,
    ".npy": _read_npy,
    ".parquet": _read_parquet,
    ".faiss": _read_faiss,
}
# Of files of embeddings.
SUFFIXES = tuple(_READERS)
