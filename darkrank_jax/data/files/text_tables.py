"""Rows of CSV and TSV files, read strictly: no value is dropped, and no two rows become one."""

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from darkrank_jax.errors import UserError
from darkrank_jax.terminal import printable

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
# Characters of a line; more are no table of paths.
_LONGEST = 2**20


def read_text(path: Path, separator: str) -> Iterator[list[str]]:
    """The names of the columns, and then the values of each line, blank ones as empty lists.

    Args:
      path: of a UTF-8 file, with or without a byte order mark. The first line names the columns.
      separator: of values; one that holds it is enclosed in double quotes.

    Yields:
      The values of a line without spaces around them, as many as there are columns.

    Raises:
      UserError: the file is empty or not UTF-8, or a line has a stray quote, a NUL, a line end
        within a value, or more or fewer values than there are columns.
    """
    # Bytes that are not UTF-8 are found line by line, so that the line can be named.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = _checked(path, file)
        reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
        columns: list[str] = []
        for place in itertools.count():
            line = reader.line_num + 1
            try:
                values = [value.strip() for value in next(reader)]
            except StopIteration:
                return
            except csv.Error as error:
                raise UserError(
                    f"{path}: {_place(line)} cannot be read ({error}); enclose a whole value in "
                    "double quotes, and double those within it"
                ) from error
            if reader.line_num > line:
                raise UserError(
                    f"{path}: {_place(line)} goes on in the next line; write each value on one "
                    "line, or remove the double quote that opens it"
                )
            if place == 0:
                columns = values
            elif not any(values) and len(values) < 2:
                values = []
            elif len(values) != len(columns):
                raise UserError(_count_error(path, line, values, columns, separator))
            yield values


def separator_hint(columns: list[str], separator: str, required: tuple[str, ...]) -> str | None:
    """What separates the columns of a file that was read with another separator.

    Example:
      >>> separator_hint(["path;label"], ",", ("path", "label"))
      'semicolons; separate them by commas'
    """
    header = separator.join(columns).lower()
    for other, name in _SEPARATORS.items():
        names = [each.strip().strip('"') for each in header.split(other)]
        if other != separator and set(required) <= set(names):
            return f"{name}; separate them by {_SEPARATORS[separator]}"
    return None


def _checked(path: Path, file: TextIO) -> Iterator[str]:
    """The lines of a file, if they are text."""
    for number in itertools.count(1):
        line = file.readline(_LONGEST)
        if not line:
            return
        problem = None
        if len(line) == _LONGEST:
            problem = f"must have fewer than {_LONGEST:,} characters; is it a table?"
        elif not line.isascii() and (byte := _broken_byte(line)) is not None:
            problem = f"must be UTF-8 (got byte 0x{byte:02x}); save the table as UTF-8"
        elif "\0" in line:
            problem = "holds a NUL character; save the table as UTF-8"
        if problem:
            raise UserError(f"{path}: {_place(number)} {problem}")
        yield line


def _broken_byte(line: str) -> int | None:
    """The first byte of a line that is no part of UTF-8."""
    return next((ord(each) - 0xDC00 for each in line if "\udc80" <= each <= "\udcff"), None)


def _place(line: int) -> str:
    """A line of a file by its number, and the row it is below the names of the columns."""
    return f"row {line - 1} (line {line})" if line > 1 else "line 1"


def _count_error(
    path: Path, line: int, values: list[str], columns: list[str], separator: str
) -> str:
    """What to do about a line with too many or too few values."""
    few = "fill in what is missing"
    many = f"enclose a value that holds {_SEPARATORS[separator]} in double quotes"
    expected = f"{len(columns)} values, as {printable(', '.join(columns))}"
    remedy = few if len(values) < len(columns) else many
    return f"{path}: {_place(line)} must have {expected} (got {len(values)}); {remedy}"
