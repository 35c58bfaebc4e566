"""Encoded bytes to pixels: any common kind of image file, upright, 8 bits, gray or colour."""

import io
import struct
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

from darkrank_jax.errors import UserError

# The kinds that are opened, whatever a file calls itself.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm"),
)
# (left, top, right, bottom) in pixels of a picture, not rounded.
Box = tuple[float, float, float, float]
# A picture is kept at no less than so many times the height and width that are asked for.
_SPARE = 2
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


def decode(file: bytes, name: str, *, size: tuple[int, int], grayscale: bool) -> Image.Image:
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
      An upright picture, as the camera's EXIF orientation has it, of mode "L" or "RGB".

    Raises:
      UserError: the file is empty, no such image, cut off, of floats, or absurdly large.
    """
    if not file:
        raise UserError(f"{name}: is empty; delete it or put the image there again")
    mode = "L" if grayscale else "RGB"
    try:
        with Image.open(io.BytesIO(file), formats=FORMATS) as picture:
            turned = _orientation(picture) in _TURNED
            height, width = size[::-1] if turned else size
            picture.draft(mode, (_SPARE * width, _SPARE * height))
            ImageOps.exif_transpose(picture, in_place=True)
            upright = _convert(picture, mode)
        factor = min(upright.width // (_SPARE * size[1]), upright.height // (_SPARE * size[0]))
        return upright.reduce(factor) if factor > 1 else upright
    except Image.UnidentifiedImageError:
        raise UserError(f"{name}: is no image of a known kind; delete it or save it anew") from None
    except _BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{name}: cannot be decoded ({reason}); delete it or save it anew"
        ) from error


def cut(picture: Image.Image, box: Box, size: tuple[int, int]) -> np.ndarray:
    """Resamples a part of a picture to a size, bilinear with antialiasing.

    Args:
      picture: of mode "L" or "RGB".
      box: the part, within the picture.
      size: height and width of the result.

    Returns:
      uint8 [height, width, 1 or 3].

    Example:
      >>> picture = Image.fromarray(np.array([[0, 100], [200, 60]], np.uint8))
      >>> cut(picture, (0, 0, 2, 2), (1, 1)).tolist()
      [[[90]]]
    """
    return to_array(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box))


def to_picture(image: np.ndarray) -> Image.Image:
    """An array [h, w, 1 or 3] as a picture."""
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def to_array(picture: Image.Image) -> np.ndarray:
    """A picture as an array [h, w, 1 or 3]."""
    array = np.asarray(picture)
    return array[:, :, None] if array.ndim == 2 else array


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
