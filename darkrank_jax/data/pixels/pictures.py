"""Encoded bytes to pixels: any common kind of image file, upright, 8 bits, gray or colour."""

import io
import os
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from darkrank_jax.data.files.archives import read_file
from darkrank_jax.data.pixels.conversions import check_white_is_known, to_8_bits
from darkrank_jax.data.pixels.limits import MAX_MEGAPIXELS, check_size, count_scans, decoding_budget
from darkrank_jax.data.pixels.metadata import (
    BROKEN,
    TURNED,
    leave_out_broken_tags,
    orientation,
    turn_upright,
    without_metadata,
)
from darkrank_jax.errors import UserError

# The kinds that are opened, whatever a file calls itself.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm"),
)
# A picture is kept at no less than this multiple of the height and width that are asked for.
_SPARE = 2
# How far a JPEG file may be reduced while it is decoded; as Pillow's `draft` does.
_JPEG_REDUCTIONS = (1, 2, 4, 8)
_JPEG = b"\xff\xd8"
# Bytes that a pixel of a progressive JPEG file takes before it is decoded.
_COEFFICIENTS = 6
# The path of a file, the bytes of a file, or what Pillow opened or made.
AnyPicture = str | os.PathLike | bytes | Image.Image


def decode(
    image: AnyPicture,
    name: str = "",
    *,
    size: tuple[int, int],
    grayscale: bool,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> np.ndarray:
    """Decodes an image at the smallest whole reduction that leaves twice the size asked for.

    A file's path, its bytes, and what Pillow opened of it give the same pixels. JPEG files are
    reduced while they are decoded, so a large one that Pillow has loaded already gives slightly
    other pixels than its file. Metadata that cannot be read is ignored.

    Args:
      image: the path or the bytes of a JPEG, PNG, WebP, GIF, BMP, TIFF or PNM file, or a Pillow
        image, whose EXIF orientation and transparency count as those of a file. Of an animation
        the first picture counts, of a Pillow image the current one. 16-bit pixels keep their
        upper 8 bits. What is transparent becomes white.
      name: of the image in errors; the path if empty.
      size: height and width that crops of the picture will have.
      grayscale: one channel instead of red, green and blue.
      max_megapixels: the most millions of pixels of a picture; Pillow opens at most 178. JPEG
        files of over 100 scans, or of scans of 20 times that number together, are refused, too.

    Returns:
      uint8 [h, w, 1 or 3], upright, as the camera's EXIF orientation has it; not to be written to.

    Raises:
      UserError: the image is empty, of no known format, cut off, has pixels of floats, of 32-bit
        integers or of 12 bits, or is too large.
    """
    if isinstance(image, str | os.PathLike):
        name, image = name or os.fspath(image), read_file(Path(image))
    elif isinstance(image, Image.Image):
        name, image = name or str(getattr(image, "filename", "")), _file_of(image) or image
    name = name or "image"
    if isinstance(image, bytes) and not image:
        raise UserError(f"{name}: must not be empty; delete it or put the image there again")
    try:
        if isinstance(image, Image.Image):
            check_size(*image.size, 1, max_megapixels)
            with decoding_budget().taken(_most_bytes(image)):
                return _decode_any(image, size, grayscale)
        return decode_bytes(image, size, grayscale, max_megapixels)
    except Image.UnidentifiedImageError:
        raise UserError(
            f"{name}: is no image of a known kind; delete it or save it again"
        ) from None
    except MemoryError as error:
        raise UserError(
            f"{name}: takes more memory than is left; free some, or shrink it"
        ) from error
    except BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{name}: cannot be decoded ({reason}); delete it or save it again"
        ) from error


def to_picture(image: np.ndarray) -> Image.Image:
    """An array [h, w, 1 or 3] for Pillow."""
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def to_array(picture: Image.Image) -> np.ndarray:
    """An array [h, w, 1 or 3] of what Pillow made; not to be written to."""
    array = np.asarray(picture)
    return array[:, :, None] if array.ndim == 2 else array


def _file_of(picture: Image.Image) -> bytes | None:
    """The bytes that Pillow opened and has not decoded yet, if it is a file of its first picture.

    Only of JPEG, which can be reduced as it is decoded; others give the same pixels either way.
    """
    file = getattr(picture, "fp", None)
    if picture.format not in ("JPEG", "MPO") or file is None or picture.tell() > 0:
        return None
    place = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(place)
    return data


def decode_bytes(
    file: bytes, size: tuple[int, int], grayscale: bool, max_megapixels: float
) -> np.ndarray:
    """The pixels of an image file; a second try leaves out its metadata."""
    scans = count_scans(file) if file.startswith(_JPEG) else 1
    plain = _decode_plain_jpeg(file, size, grayscale, scans, max_megapixels)
    if plain is not None:
        return plain
    try:
        return _decode_file(file, size, grayscale, scans, max_megapixels)
    except BROKEN:
        bare = without_metadata(file)
        if bare == file:
            raise
        return _decode_file(bare, size, grayscale, scans, max_megapixels)


def _decode_plain_jpeg(
    file: bytes, size: tuple[int, int], grayscale: bool, scans: int, max_megapixels: float
) -> np.ndarray | None:
    """The pixels of `_decode_file`, bitwise, in less time and in one call that leaves Python free.

    None of anything but a sound and upright JPEG file of usual colours: Pillow decodes the others.
    """
    if not _is_upright_jpeg(file):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(file)
    except ValueError:
        return None
    height, width = int(height), int(width)
    check_size(width, height, scans, max_megapixels)
    reduction = max(r for r in _JPEG_REDUCTIONS if r <= _reduction(height, width, size))
    height_left, width_left = -(-height // reduction), -(-width // reduction)
    if colours not in ("YCbCr", "Gray") or _reduction(height_left, width_left, size) > 1:
        return None
    form = "GRAY" if grayscale else "RGB"
    # Several scans are collected at full size.
    collected = _COEFFICIENTS * height * width if scans > 1 else 0
    with decoding_budget().taken(3 * height_left * width_left + collected):
        try:
            pixels = simplejpeg.decode_jpeg(
                file, form, min_height=height_left, min_width=width_left
            )
        except ValueError:
            return None
    pixels.flags.writeable = False
    return pixels


def _is_upright_jpeg(file: bytes) -> bool:
    """Whether it calls itself JPEG and no camera says that it lies otherwise."""
    if not file.startswith(_JPEG):
        return False
    if not any(word in file for word in (b"Exif\0\0", b"tiff:Orientation")):
        return True
    try:
        with Image.open(io.BytesIO(file), formats=("JPEG",)) as picture:
            return orientation(picture) == 1
    except BROKEN:
        return False


def _decode_file(
    file: bytes, size: tuple[int, int], grayscale: bool, scans: int, max_megapixels: float
) -> np.ndarray:
    """The pixels of an image file of any kind, by Pillow."""
    with Image.open(io.BytesIO(file), formats=FORMATS) as picture:
        check_size(*picture.size, scans, max_megapixels)
        collected = _COEFFICIENTS * picture.width * picture.height if scans > 1 else 0
        turned = orientation(picture) in TURNED
        height, width = size[::-1] if turned else size
        picture.draft("L" if grayscale else "RGB", (_SPARE * width, _SPARE * height))
        leave_out_broken_tags(picture)
        with decoding_budget().taken(_most_bytes(picture) + collected):
            return _decode_any(picture, size, grayscale)


def _decode_any(picture: Image.Image, size: tuple[int, int], grayscale: bool) -> np.ndarray:
    """The pixels of a picture that Pillow opened; it is loaded, and not changed otherwise."""
    picture.load()
    # Turning may lose the format, and TIFF's tags.
    check_white_is_known(picture)
    upright = turn_upright(picture)
    factor = _reduction(upright.height, upright.width, size)
    return to_8_bits(upright, "L" if grayscale else "RGB", factor)


def _most_bytes(picture: Image.Image) -> int:
    """What Pillow takes for a picture of four channels, once as in the file and once upright."""
    return 8 * picture.width * picture.height


def _reduction(height: int, width: int, size: tuple[int, int]) -> int:
    """By how much a picture may be reduced to be as large as is asked; at least 1."""
    return max(1, min(height // (_SPARE * size[0]), width // (_SPARE * size[1])))
