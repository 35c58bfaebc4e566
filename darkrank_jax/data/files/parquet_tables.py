"""Rows of Parquet files as text, by the type of each column."""

import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from darkrank_jax.errors import UserError
from darkrank_jax.extras import MissingExtra, install
from darkrank_jax.files import read_advice
from darkrank_jax.terminal import printable

BATCH = 1 << 14
# Bytes of a value: as of a path, and no label is longer. With them a batch takes 64 MiB.
_LONGEST = 1 << 12
# Names of unlike images take more than a byte each, however they are packed.
_ROWS_PER_BYTE = 8
# Bytes of a column, unpacked, that are harmless; beyond them the most in relation to the file's.
_HARMLESS, _MOST_GROWTH = 1 << 28, 1000
# Bits of type -> the largest number up to which a float holds every whole number.
_EXACT = {16: 2**11, 32: 2**24, 64: 2**53}


def read_parquet(
    path: Path, choose: Callable[[list[str], list[str]], list[str]]
) -> Iterator[list[str]]:
    """The names of the columns that are read, and then their values in each row, "" for none.

    Text and bytes are read as UTF-8, whole numbers without a point, dates as ISO 8601. NaN is no
    value.

    Args:
      path: of the file.
      choose: of (the names of all columns, those of text, whole numbers or yes and no): the names
        of the columns to read.

    Yields:
      Lists of text, as long as the chosen columns.

    Raises:
      UserError: pyarrow is not installed, the file is damaged, or small and its rows would fill
        the memory, a column is of another type, or a value has no exact text.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise MissingExtra(
            f"{path}: needs pyarrow; run `{install(['pyarrow'])}`, or save it as CSV"
        ) from None
    try:
        # Repeated text stays repeated, so that it is measured before it is spread out.
        texts = [field.name for field in parquet.read_schema(path) if _is_text(field.type)]
        with parquet.ParquetFile(path, read_dictionary=texts) as file:
            schema = file.schema_arrow
            _check_growth(path, file.metadata)
            plain = [field.name for field in schema if _is_plain(field.type)]
            chosen = choose(schema.names, plain)
            yield chosen
            row = 0
            for batch in file.iter_batches(BATCH, columns=chosen):
                columns = [_texts(path, name, batch.column(name), row) for name in chosen]
                yield from map(list, zip(*columns, strict=True))
                row += batch.num_rows
                _check_rows(path, row)
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        reason = printable(" ".join(str(error).split()))
        raise UserError(
            f"{path}: is no whole Parquet file ({reason}); {read_advice(error, 'write it again')}"
        ) from error


def _check_growth(path: Path, metadata: Any) -> None:
    """Refuses a file whose columns unpack to far more than it takes."""
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    size = sum(group.total_byte_size for group in groups)
    if size > max(_HARMLESS, _MOST_GROWTH * path.stat().st_size):
        raise UserError(
            f"{path}: unpacks to {size:,} bytes, over {_MOST_GROWTH} times its size; write it "
            "without compression if it is sound"
        )


def _check_rows(path: Path, rows: int) -> None:
    """Refuses a file with more rows than can be of unlike images."""
    most = max(BATCH, _ROWS_PER_BYTE * path.stat().st_size)
    if rows > most:
        raise UserError(
            f"{path}: must have at most {most:,} rows, as its {path.stat().st_size:,} bytes cannot "
            "name more images; leave out what is doubled"
        )


def _is_plain(kind: Any) -> bool:
    """Whether a column may hold the words for splits, or say yes and no."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    tests = (types.is_string, types.is_large_string, types.is_boolean, types.is_integer)
    return any(test(kind) for test in tests)


def _is_text(kind: Any) -> bool:
    """Whether a column is of text or bytes, of which one may repeat without taking room."""
    from pyarrow import types

    tests = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return any(test(kind) for test in tests)


def _texts(path: Path, name: str, column: Any, first: int) -> list[str]:
    """The values of a part of a column that begins at a row."""
    from pyarrow import types

    if types.is_dictionary(column.type):
        words = column.dictionary
        if _is_text(words.type):
            _check_lengths(path, name, words, first)
        column = column.dictionary_decode()
    kind = column.type
    if types.is_temporal(kind) and not types.is_duration(kind):
        column = column.cast("string")
    # As bytes, of which a broken one can be named.
    if types.is_string(column.type) or types.is_large_string(column.type):
        column = column.cast("large_binary")
    to_text = _converter(column.type)
    if to_text is None:
        raise UserError(f"{path}: column {name!r} must hold text or numbers (got {kind})")
    found = []
    for place, value in enumerate(column.to_pylist()):
        try:
            found.append("" if value is None else to_text(value).strip())
        except ValueError as error:
            raise UserError(f"{path}: row {first + place + 1}: {name} {error}") from error
    return found


def _check_lengths(path: Path, name: str, words: Any, first: int) -> None:
    """Refuses values of a column, from a row on, that are too long to be names."""
    import pyarrow.compute

    compute: Any = pyarrow.compute

    longest = compute.max(compute.binary_length(words)).as_py() or 0
    if longest > _LONGEST:
        raise UserError(
            f"{path}: values of {name!r} must have at most {_LONGEST:,} bytes (got {longest:,} "
            f"after row {first}); shorten it"
        )


def _converter(kind: Any) -> Callable[[Any], str] | None:
    """What makes text of a value of a type; None for a type that is not read."""
    from pyarrow import types

    if types.is_floating(kind):
        return lambda value: _of_float(value, _EXACT[kind.bit_width])
    binary = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    if any(test(kind) for test in binary):
        return _of_bytes
    if types.is_decimal(kind):
        return _of_decimal
    if types.is_integer(kind) or types.is_boolean(kind) or types.is_null(kind):
        return str
    return None


def _of_bytes(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = value[error.start]
        raise ValueError(f"must be UTF-8 (got byte 0x{byte:02x}); write it as text") from None


def _of_float(value: float, most: int) -> str:
    """A whole number without a point; "" for NaN."""
    value = float(value)
    if math.isnan(value):
        return ""
    if abs(value) > most:
        raise ValueError(f"must be exact (got the float {value:g}); write integers or text")
    return str(int(value)) if value.is_integer() else str(value)


def _of_decimal(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
