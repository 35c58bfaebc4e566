"""Encoded bytes to pixels: any common kind of image file, upright, 8 bits, gray or colour."""

import io
import struct
from collections.abc import Callable

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

from darkrank_jax.errors import UserError

# The kinds that are opened, whatever a file calls itself.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm"),
)
# A picture is kept at no less than so many times the height and width that are asked for.
_SPARE = 2
# How far a JPEG file may be reduced while it is decoded; as Pillow's `draft` does.
_JPEG_REDUCTIONS = (1, 2, 4, 8)
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
# What Pillow raises for a broken file; its warning of a bomb may be raised, too.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def decode(file: bytes, name: str, *, size: tuple[int, int], grayscale: bool) -> np.ndarray:
    """Decodes an image at the smallest whole reduction that leaves twice the size asked for.

    JPEG files are reduced while they are decoded. The result follows from the file and the
    arguments alone, so a picture that was kept is the same as one that is decoded anew.

    Args:
      file: the bytes of a JPEG, PNG, WebP, GIF, BMP, TIFF or PNM file; of an animation the first
        picture counts, of 16 bits the upper 8, and what is transparent lies on white.
      name: of the file, for the error.
      size: height and width that crops of the picture will have.
      grayscale: one channel instead of red, green and blue.

    Returns:
      uint8 [h, w, 1 or 3], upright, as the camera's EXIF orientation has it; not to be written to.

    Raises:
      UserError: the file is empty, no such image, cut off, of floats, or absurdly large.
    """
    if not file:
        raise UserError(f"{name}: is empty; delete it or put the image there again")
    try:
        plain = _decode_plain_jpeg(file, size, grayscale)
        return plain if plain is not None else _decode_any(file, size, grayscale)
    except Image.UnidentifiedImageError:
        raise UserError(f"{name}: is no image of a known kind; delete it or save it anew") from None
    except _BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{name}: cannot be decoded ({reason}); delete it or save it anew"
        ) from error


def to_picture(image: np.ndarray) -> Image.Image:
    """An array [h, w, 1 or 3] for Pillow."""
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def to_array(picture: Image.Image) -> np.ndarray:
    """An array [h, w, 1 or 3] of what Pillow made; not to be written to."""
    array = np.asarray(picture)
    return array[:, :, None] if array.ndim == 2 else array


def _decode_plain_jpeg(file: bytes, size: tuple[int, int], grayscale: bool) -> np.ndarray | None:
    """What `_decode_any` makes, to the bit, in less time and in one call that leaves Python free.

    None of anything but a sound and upright JPEG file of usual colours: Pillow sees to the others.
    """
    if not _is_upright_jpeg(file):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(file)
        height, width = int(height), int(width)
        reduction = max(r for r in _JPEG_REDUCTIONS if r <= _reduction(height, width, size))
        height_left, width_left = -(-height // reduction), -(-width // reduction)
        absurd = height * width > (Image.MAX_IMAGE_PIXELS or np.inf)
        if (
            absurd
            or colours not in ("YCbCr", "Gray")
            or _reduction(height_left, width_left, size) > 1
        ):
            return None
        form = "GRAY" if grayscale else "RGB"
        pixels = simplejpeg.decode_jpeg(file, form, min_height=height_left, min_width=width_left)
    except ValueError:
        return None
    pixels.flags.writeable = False
    return pixels


def _is_upright_jpeg(file: bytes) -> bool:
    """Whether it calls itself JPEG and no camera says that it lies otherwise."""
    if not file.startswith(b"\xff\xd8"):
        return False
    if not any(word in file for word in (b"Exif\0\0", b"tiff:Orientation")):
        return True
    with Image.open(io.BytesIO(file), formats=("JPEG",)) as picture:
        return _orientation(picture) == 1


def _decode_any(file: bytes, size: tuple[int, int], grayscale: bool) -> np.ndarray:
    """Of any kind, by Pillow."""
    mode = "L" if grayscale else "RGB"
    with Image.open(io.BytesIO(file), formats=FORMATS) as picture:
        turned = _orientation(picture) in _TURNED
        height, width = size[::-1] if turned else size
        picture.draft(mode, (_SPARE * width, _SPARE * height))
        ImageOps.exif_transpose(picture, in_place=True)
        upright = _convert(picture, mode)
    factor = _reduction(upright.height, upright.width, size)
    return to_array(upright.reduce(factor) if factor > 1 else upright)


def _reduction(height: int, width: int, size: tuple[int, int]) -> int:
    """By how much a picture may be reduced to be as large as is asked; at least 1."""
    return max(1, min(height // (_SPARE * size[0]), width // (_SPARE * size[1])))


def _orientation(picture: Image.Image) -> int:
    """How the camera was held, by EXIF; 1 is upright."""
    return picture.getexif().get(_ORIENTATION, 1)


def _convert(picture: Image.Image, mode: str) -> Image.Image:
    """A picture in 8 bits a channel."""
    return _CONVERSIONS.get(picture.mode, _convert_plain)(picture, mode)


def _convert_plain(picture: Image.Image, mode: str) -> Image.Image:
    """From any colour space or palette."""
    if "transparency" in picture.info:
        return _convert_transparent(picture, mode)
    picture.load()
    return picture if picture.mode == mode else picture.convert(mode)


def _convert_transparent(picture: Image.Image, mode: str) -> Image.Image:
    """What is transparent becomes white, not the colour that happens to stand there."""
    layers = picture.convert("RGBA")
    paper = Image.new("RGBA", layers.size, "white")
    return Image.alpha_composite(paper, layers).convert(mode)


def _convert_deep(picture: Image.Image, mode: str) -> Image.Image:
    """The upper 8 of 16 bits."""
    values = np.clip(np.asarray(picture).astype(np.int64), 0, 2**16 - 1) >> 8
    return Image.fromarray(values.astype(np.uint8)).convert(mode)


def _refuse_float(picture: Image.Image, mode: str) -> Image.Image:
    """There is no telling which number is white."""
    del picture, mode
    raise ValueError("its pixels are floats, 8 or 16 bits are needed")


_CONVERSIONS: dict[str, Callable[[Image.Image, str], Image.Image]] = {
    **dict.fromkeys(("RGBA", "LA", "PA", "La", "RGBa"), _convert_transparent),
    **dict.fromkeys(("I", "I;16", "I;16B", "I;16L", "I;16N"), _convert_deep),
    "F": _refuse_float,
}
