"""Members of a zip archive, unpacked up to the size that the archive states and no further."""

import bz2
import lzma
import struct
import zipfile
import zlib
from typing import NamedTuple

# Bytes that start a member; name and further fields follow, whose lengths end it.
_HEADER = struct.Struct("<4s22xHH")
HEADER_SIZE = _HEADER.size
# Of decompression of LZMA; its file states how much it takes.
_MOST_MEMORY = 2**28


class Member(NamedTuple):
    """Where a member is and what its list states of it.

    Attributes:
      start: of its header in the file.
      packed: bytes that it takes in the file.
      method: number of its compression.
      size: bytes of its contents.
      checksum: CRC-32 of its contents.
    """

    start: int
    packed: int
    method: int
    size: int
    checksum: int


def data_start(member: Member, header: bytes) -> int:
    """Where a member's data starts, by its header of HEADER_SIZE bytes.

    Raises:
      zipfile.BadZipFile: it has none.
    """
    mark, name, extra = _HEADER.unpack(header)
    if mark != b"PK\3\4":
        raise zipfile.BadZipFile("a file in it has no header")
    return member.start + HEADER_SIZE + name + extra


def unpacked(member: Member, data: bytes) -> bytes:
    """The contents of a member, of exactly the stated size.

    Python's `zipfile` unpacks bzip2 and LZMA whole before it looks at the size.

    Args:
      member: of the archive.
      data: its bytes in the file.

    Returns:
      Its contents.

    Raises:
      zipfile.BadZipFile: they have another size or checksum than is stated.
      OSError, EOFError, zlib.error, lzma.LZMAError: they are damaged, or LZMA wants much memory.
    """
    contents = _UNPACKERS[member.method](data, member.size + 1)
    if len(contents) > member.size:
        raise zipfile.BadZipFile(f"a file in it unpacks to more than its {member.size:,} bytes")
    if len(contents) < member.size or zlib.crc32(contents) != member.checksum:
        raise zipfile.BadZipFile("a file in it has another size or checksum than is stated")
    return contents


def _inflate(data: bytes, most: int) -> bytes:
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, most)


def _unpack_lzma(data: bytes, most: int) -> bytes:
    """As a .lzma file, whose header has the same properties, and an unknown size."""
    (length,) = struct.unpack("<2xH", data[:4]) if len(data) >= 4 else (0,)
    properties, rest = data[4 : 4 + length], data[4 + length :]
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_MOST_MEMORY)
    return unpacker.decompress(properties + b"\xff" * 8 + rest, most)


_UNPACKERS = {
    zipfile.ZIP_STORED: lambda data, most: data[:most],
    zipfile.ZIP_DEFLATED: _inflate,
    zipfile.ZIP_BZIP2: lambda data, most: bz2.BZ2Decompressor().decompress(data, most),
    zipfile.ZIP_LZMA: _unpack_lzma,
}
