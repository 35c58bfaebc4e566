"""Rows of Parquet files as text, by the type of each column."""

import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from darkrank_jax.errors import UserError
from darkrank_jax.files import read_advice
from darkrank_jax.terminal import printable

_BATCH = 1 << 14
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
      UserError: pyarrow is not installed, the file is damaged, a column is of another type, or a
        value has no exact text.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError(
            f"{path}: Parquet needs pyarrow; run `pip install pyarrow`, or save it as CSV"
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            plain = [field.name for field in schema if _is_plain(field.type)]
            chosen = choose(schema.names, plain)
            yield chosen
            row = 0
            for batch in file.iter_batches(_BATCH, columns=chosen):
                columns = [_texts(path, name, batch.column(name), row) for name in chosen]
                yield from map(list, zip(*columns, strict=True))
                row += batch.num_rows
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        reason = printable(" ".join(str(error).split()))
        raise UserError(
            f"{path}: is no whole Parquet file ({reason}); {read_advice(error, 'write it again')}"
        ) from error


def _is_plain(kind: Any) -> bool:
    """Whether a column may hold the words for splits, or say yes and no."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    tests = (types.is_string, types.is_large_string, types.is_boolean, types.is_integer)
    return any(test(kind) for test in tests)


def _texts(path: Path, name: str, column: Any, first: int) -> list[str]:
    """The values of a part of a column that begins at a row."""
    from pyarrow import types

    if types.is_dictionary(column.type):
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
