"""Members of a zip archive, read in blocks up to the size that the archive states, no further.

Python's `zipfile` unpacks bzip2 and LZMA whole before it looks at the size.
"""

import bz2
import itertools
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

# Bytes that start a member; name and further fields follow, whose lengths end it.
_HEADER = struct.Struct("<4s22xHH")
_BLOCK = 2**20
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


def member_of(entry: zipfile.ZipInfo) -> Member:
    """What `member_blocks` needs of an entry of `zipfile`."""
    return Member(
        entry.header_offset, entry.compress_size, entry.compress_type, entry.file_size, entry.CRC
    )


def member_blocks(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """The contents of a member, of exactly the stated size together.

    Args:
      file: the archive.
      member: of it.

    Yields:
      Blocks of bounded length.

    Raises:
      zipfile.BadZipFile: it has no header, or another size or checksum than is stated.
      EOFError, zlib.error, lzma.LZMAError: it is damaged, or LZMA wants much memory.
      OSError: the file cannot be read.
    """
    file.seek(data_start(file, member))
    size = checksum = 0
    for block in _UNPACKERS[member.method](_packed(file, member.packed)):
        size += len(block)
        if size > member.size:
            raise zipfile.BadZipFile(f"a file in it unpacks to more than its {member.size:,} bytes")
        checksum = zlib.crc32(block, checksum)
        yield block
    if size < member.size or checksum != member.checksum:
        raise zipfile.BadZipFile("a file in it has another size or checksum than is stated")


def data_start(file: BinaryIO, member: Member) -> int:
    """Where in an archive the contents of a member begin; BadZipFile where it has no header."""
    file.seek(member.start)
    mark, name, extra = _HEADER.unpack(file.read(_HEADER.size).ljust(_HEADER.size))
    if mark != b"PK\3\4":
        raise zipfile.BadZipFile("a file in it has no header")
    return file.tell() + name + extra


def _packed(file: BinaryIO, left: int) -> Iterator[bytes]:
    """The next bytes of a file, as many as there must be."""
    while left:
        block = file.read(min(_BLOCK, left))
        if not block:
            raise EOFError("a file in it ends beyond it")
        left -= len(block)
        yield block


def _inflate(packed: Iterator[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    for block in packed:
        while block and not unpacker.eof:
            yield unpacker.decompress(block, _BLOCK)
            block = unpacker.unconsumed_tail
    yield unpacker.flush()


def _decompress(unpacker: Any, packed: Iterator[bytes]) -> Iterator[bytes]:
    for block in packed:
        while not unpacker.eof:
            try:
                unpacked = unpacker.decompress(block, _BLOCK)
            except OSError as error:
                # So bz2 calls damaged data, which is no error of the disk.
                raise zipfile.BadZipFile(str(error)) from error
            yield unpacked
            block = b""
            if unpacker.needs_input:
                break


def _unpack_lzma(packed: Iterator[bytes]) -> Iterator[bytes]:
    """As a .lzma file, whose header has the same properties, and an unknown size."""
    first = next(packed, b"")
    (length,) = struct.unpack("<2xH", first[:4]) if len(first) >= 4 else (0,)
    start = first[4 : 4 + length] + b"\xff" * 8 + first[4 + length :]
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_MOST_MEMORY)
    return _decompress(unpacker, itertools.chain([start], packed))


_UNPACKERS: dict[int, Callable[[Iterator[bytes]], Iterator[bytes]]] = {
    zipfile.ZIP_STORED: lambda packed: packed,
    zipfile.ZIP_DEFLATED: _inflate,
    zipfile.ZIP_BZIP2: lambda packed: _decompress(bz2.BZ2Decompressor(), packed),
    zipfile.ZIP_LZMA: _unpack_lzma,
}
