"""What an image file says beside its pixels: how the camera was held; and how to do without it."""

import re
import struct
import zlib

from PIL import Image
from PIL.Image import Transpose

# What Pillow raises for a broken file; its warning of a bomb may be raised, too.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
    # Of metadata whose types are not those that Pillow expects.
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
)
_ORIENTATION = 0x0112
_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
# Orientations whose height is the file's width.
TURNED = (5, 6, 7, 8)
# Places of further tags in a TIFF file: EXIF, GPS, interoperability.
_MORE_TAGS = (0x8769, 0x8825, 0xA005)

_PNG = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# Chunks of text that may hold the orientation, of which longer ones are left out.
_ORIENTATION_TEXTS = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
_LONGEST_TEXT = 2**20
# Segments of JPEG that matter to its pixels: Adobe's colour transform, and JFIF.
_JPEG_METADATA = re.compile(rb"[\xe1-\xed\xef\xfe]")


def orientation(picture: Image.Image) -> int:
    """How the camera was held, by EXIF or XMP, 1 to 8; 1, upright, if that cannot be read."""
    try:
        found = picture.getexif().get(_ORIENTATION, 1)
    except BROKEN:
        return 1
    return found if isinstance(found, int) and found in _TURNS else 1


def turn_upright(picture: Image.Image) -> Image.Image:
    """The picture as the camera saw it, by its orientation."""
    turn = _TURNS.get(orientation(picture))
    return picture if turn is None else picture.transpose(turn)


def leave_out_broken_tags(picture: Image.Image) -> None:
    """Removes a TIFF file's links to tags that Pillow reads and no pixel needs."""
    if picture.format != "TIFF":
        return
    exif = picture.getexif()
    for tag in _MORE_TAGS:
        exif.pop(tag, None)


def without_metadata(file: bytes) -> bytes:
    """A PNG or JPEG file without what its pixels and its orientation do not need.

    Pillow refuses a whole file for a long text, a wrong checksum or a malformed segment in it.

    Returns:
      The same bytes, if nothing was left out or the file is of another kind.
    """
    if file.startswith(_PNG):
        return _png_without_metadata(file)
    if file.startswith(b"\xff\xd8"):
        return _jpeg_without_metadata(file)
    return file


def _png_without_metadata(file: bytes) -> bytes:
    kept, place = [_PNG], len(_PNG)
    while place + 12 <= len(file):
        length, kind = struct.unpack(">I4s", file[place : place + 8])
        chunk = file[place : place + length + 12]
        if kind in _PIXEL_CHUNKS or _may_orient(kind, chunk):
            kept.append(chunk)
        place += length + 12
    return b"".join(kept)


def _may_orient(kind: bytes, chunk: bytes) -> bool:
    """Whether a whole chunk of PNG is EXIF, or text of usual length that may hold it."""
    if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]) or len(chunk) > _LONGEST_TEXT:
        return False
    text = chunk[8:-4]
    if kind == b"eXIf":
        return True
    if kind == b"zTXt" and text.startswith(_ORIENTATION_TEXTS):
        return _inflates(text[text.index(b"\0") + 2 :])
    return kind in (b"tEXt", b"iTXt") and text.startswith(_ORIENTATION_TEXTS)


def _inflates(data: bytes) -> bool:
    """Whether compressed text is sound and of usual length."""
    stream = zlib.decompressobj()
    try:
        stream.decompress(data, _LONGEST_TEXT)
    except zlib.error:
        return False
    return stream.eof


def _jpeg_without_metadata(file: bytes) -> bytes:
    """Segments up to the first scan but those of applications and comments."""
    kept, place = [b"\xff\xd8"], 2
    while file[place : place + 1] == b"\xff" and place + 4 <= len(file):
        marker, length = file[place + 1 : place + 2], int.from_bytes(file[place + 2 : place + 4])
        if marker == b"\xda":
            break
        if not _JPEG_METADATA.fullmatch(marker):
            kept.append(file[place : place + 2 + length])
        place += 2 + length
    return b"".join([*kept, file[place:]])
