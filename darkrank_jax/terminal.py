"""Text of strangers (names of files, classes, configs) made safe to print."""

import unicodedata

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


def _is_unsafe(character: str) -> bool:
    """Whether a terminal may act on a character."""
    return unicodedata.category(character) in _UNSAFE or character in _TURNING


def _escaped(character: str) -> str:
    """The backslash escape of a character, as Python writes it."""
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
