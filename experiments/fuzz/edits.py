"""Random edits of files, as Hypothesis draws and shrinks them."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

# Numbers that headers are wrong by: none, the last of a width, and one more.
_NUMBERS = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1]
_ODD_VALUES: list[Any] = [
    None, True, False, 0, -1, 1 << 70, 1e308, float("nan"), float("inf"), "", "\x1b[31m", "é" * 300,
    [], {}, [[]], {"a": {}}, "../../x", [1] * 50,
]  # fmt: skip
Change = Callable[[bytes], bytes]


def edits_of_bytes() -> st.SearchStrategy[Change]:
    """One to six edits: bytes changed, cut out, put in, copied elsewhere; numbers of a header."""
    place = st.floats(0, 1, exclude_max=True)
    some = st.binary(min_size=1, max_size=8)
    number = st.builds(
        lambda value, form: struct.pack(form, value & (256 ** struct.calcsize(form) - 1)),
        st.sampled_from(_NUMBERS),
        st.sampled_from(["<B", "<H", ">H", "<I", ">I", "<Q"]),
    )
    one = st.one_of(
        st.builds(_overwrite, place, some | number),
        st.builds(_insert, place, some | number),
        st.builds(_cut_out, place, st.integers(1, 400)),
        st.builds(_cut_off, place),
        st.builds(_copy, place, place, st.integers(1, 400)),
    )
    return st.lists(one, min_size=1, max_size=6).map(_in_turn)


def edits_of_json() -> st.SearchStrategy[Change]:
    """One value somewhere in the file becomes another, or is left out."""
    return st.builds(_replace_value, st.integers(0, 10_000), st.sampled_from(_ODD_VALUES))


def edits_of_zip() -> st.SearchStrategy[Change]:
    """Edits of one member's bytes, written again with sums that fit."""
    return st.builds(_rezip, st.integers(0, 100), edits_of_bytes(), st.booleans())


def _in_turn(changes: list[Change]) -> Change:
    """All changes, one after the other."""

    def change(data: bytes) -> bytes:
        for each in changes:
            data = each(data)
        return data

    return change


def _overwrite(place: float, new: bytes) -> Change:
    return lambda data: _spliced(data, place, len(new), new)


def _insert(place: float, new: bytes) -> Change:
    return lambda data: _spliced(data, place, 0, new)


def _cut_out(place: float, length: int) -> Change:
    return lambda data: _spliced(data, place, length, b"")


def _cut_off(place: float) -> Change:
    return lambda data: data[: int(place * len(data))]


def _copy(source: float, place: float, length: int) -> Change:
    def change(data: bytes) -> bytes:
        start = int(source * len(data))
        return _spliced(data, place, 0, data[start : start + length])

    return change


def _spliced(data: bytes, place: float, length: int, new: bytes) -> bytes:
    """The data with `length` bytes at a place replaced."""
    at = int(place * len(data))
    return data[:at] + new + data[at + length :]


def _replace_value(number: int, value: Any) -> Change:
    """Replaces the value of one node of a JSON tree, or of one line of JSON lines."""

    def change(data: bytes) -> bytes:
        lines = data.decode().splitlines()
        whole = len(lines) == 0 or not _is_json(lines[0])
        texts = [data.decode()] if whole else lines
        row = number % len(texts)
        tree = [json.loads(texts[row])]
        nodes = list(_nodes(tree))
        holder, key = nodes[number % len(nodes)]
        if value == {} and isinstance(holder, dict):
            del holder[key]
        else:
            holder[key] = value
        texts[row] = json.dumps(tree[0] if tree else None)
        return "\n".join(texts).encode()

    return change


def _is_json(text: str) -> bool:
    """Whether a line is JSON by itself."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _nodes(tree: Any) -> Any:
    """Every (holder, key) of a tree of lists and dicts."""
    keys = range(len(tree)) if isinstance(tree, list) else list(tree)
    for key in keys:
        yield tree, key
        if isinstance(tree[key], list | dict):
            yield from _nodes(tree[key])


def _rezip(number: int, change: Change, renamed: bool) -> Change:
    """Changes one member of a zip, or its name."""

    def rezipped(data: bytes) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
            for index, entry in enumerate(old.infolist()):
                content, name = old.read(entry), entry.filename
                if index == number % len(old.infolist()):
                    content = change(content)
                    name = f"x{name}" if renamed else name
                new.writestr(name, content)
        return out.getvalue()

    return rezipped
