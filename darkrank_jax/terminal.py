"""Text for a terminal: names of strangers made safe to print and to log, and tables."""

import io
import logging
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

# Controls, surrogates, and separators that a terminal may take for an end of line. Of the format
# characters those that turn the direction of writing, by which one name can look like another.
_UNSAFE = {"Cc", "Cs", "Zl", "Zp"}
_TURNING = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A)), "\u200e", "\u200f"}


def printable(text: str) -> str:
    r"""Text on one line without characters that a terminal would act on.

    Control characters (escape sequences set titles, colours and the clipboard), line ends, lone
    surrogates (bytes of a file name that are not UTF-8) and characters that turn the direction of
    writing become backslash escapes. All other text stays as it is.

    Args:
      text: a name, or a whole line that holds names.

    Returns:
      The text, safe for a terminal and a log.

    Example:
      >>> print(printable("caf\udce9 \x1b]0;title\x07"))
      caf\udce9 \x1b]0;title\x07
      >>> printable("Zürich 猫")
      'Zürich 猫'
    """
    return "".join(_escaped(c) if _is_unsafe(c) else c for c in text)


def aligned(rows: Sequence[Sequence[str]], *, numbers: bool = False) -> str:
    """A table as lines of equal columns, two spaces apart.

    Args:
      rows: cells, equally many in each; the heads are the first row.
      numbers: whether all columns but the first are aligned to the right.

    Returns:
      A line for each row, without spaces at its end.

    Example:
      >>> print(aligned([["", "R@1"], ["student", ".5"]], numbers=True))
               R@1
      student   .5
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        for cell, width in zip(others, widths[1:], strict=True):
            cells.append(cell.rjust(width) if numbers else cell.ljust(width))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def csv_cell(value: Any) -> Any:
    """A value for a CSV file that a spreadsheet shows and does not run as a formula.

    Example:
      >>> csv_cell("=1+1"), csv_cell("-a"), csv_cell("a=1"), csv_cell("-0.5")
      ("'=1+1", "'-a", 'a=1', '-0.5')
    """
    if not isinstance(value, str) or re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", value):
        return value
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _is_unsafe(character: str) -> bool:
    """Whether a terminal may act on a character."""
    return unicodedata.category(character) in _UNSAFE or character in _TURNING


def _escaped(character: str) -> str:
    """The backslash escape of a character, as Python writes it."""
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class PrintableFormatter(logging.Formatter):
    """Formats log records on one line each, escaped by `printable`; traces follow as they are."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return printable(super().formatMessage(record))


def printable_stream(stream: Any) -> Any:
    """The stream with all but ends of lines and tabs escaped by `printable`.

    What the encoding of the stream lacks becomes a backslash escape, too, instead of an error.

    Args:
      stream: such as `sys.stdout`, which is not used after that.

    Returns:
      A stream on the same file; what is not a file, such as a notebook's output, as it is.
    """
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    options = {
        name: getattr(stream, name) for name in ("encoding", "line_buffering", "write_through")
    }
    return _PrintableStream(stream.detach(), errors="backslashreplace", **options)


class _PrintableStream(io.TextIOWrapper):
    """A text file of escaped lines."""

    def write(self, text: str, /) -> int:
        """Writes text; the length of the text as given."""
        parts = re.split("([\n\t])", text)
        super().write("".join(p if p in ("\n", "\t") else printable(p) for p in parts))
        return len(text)
