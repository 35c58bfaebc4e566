"""Pictures of any mode of Pillow in 8 bits a channel, gray or colour."""

from collections.abc import Callable

import numpy as np
from PIL import Image

# Formats whose mode I holds 16-bit values; in others nothing tells which value is white.
_DEEP_FORMATS = ("PNG", "PPM")
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0


def convert(picture: Image.Image, mode: str) -> Image.Image:
    """Converts a picture to 8 bits a channel; what is transparent becomes white.

    16-bit pixels keep their upper 8 bits.

    Args:
      picture: of any mode, loaded.
      mode: "L" or "RGB".

    Raises:
      ValueError: nothing in the picture tells which value is white: floats (mode F), integers
        of 32 bits (mode I, unless of PNG or PNM, where Pillow has 16 bits in it), TIFF of 12 bits
        or with white as 0; or a 16-bit colour is transparent.
    """
    return _CONVERSIONS.get(picture.mode, _convert_plain)(picture, mode)


def _convert_plain(picture: Image.Image, mode: str) -> Image.Image:
    """From any colour space or palette."""
    if "transparency" in picture.info:
        return _convert_transparent(picture, mode)
    return picture if picture.mode == mode else picture.convert(mode)


def _convert_transparent(picture: Image.Image, mode: str) -> Image.Image:
    """What is transparent becomes white, not the colour that is stored there."""
    colour = picture.info.get("transparency")
    if isinstance(colour, tuple) and max(colour) > 255:
        raise ValueError("a colour of 16 bits is transparent, an alpha channel is needed")
    layers = picture.convert("RGBA")
    paper = Image.new("RGBA", layers.size, "white")
    return Image.alpha_composite(paper, layers).convert(mode)


def _convert_deep(picture: Image.Image, mode: str) -> Image.Image:
    """The upper 8 of 16 bits."""
    tags = getattr(picture, "tag_v2", {})
    if tags.get(_BITS_PER_SAMPLE, (16,)) != (16,) or tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        raise ValueError("its pixels are of 12 bits or have white as 0, 8 or 16 bits are needed")
    values = np.asarray(picture)
    upper = (values >> 8).astype(np.uint8)
    if "transparency" in picture.info:
        upper[values == picture.info["transparency"]] = 255
    return Image.fromarray(upper).convert(mode)


def _convert_integer(picture: Image.Image, mode: str) -> Image.Image:
    """The upper 8 of 16 bits, if the format has no more."""
    if picture.format not in _DEEP_FORMATS:
        raise ValueError("its pixels are integers of 32 bits, 8 or 16 bits are needed")
    return _convert_deep(picture, mode)


def _refuse_float(picture: Image.Image, mode: str) -> Image.Image:
    """There is no telling which number is white."""
    del picture, mode
    raise ValueError("its pixels are floats, 8 or 16 bits are needed")


_CONVERSIONS: dict[str, Callable[[Image.Image, str], Image.Image]] = {
    **dict.fromkeys(("RGBA", "LA", "PA", "La", "RGBa"), _convert_transparent),
    **dict.fromkeys(("I;16", "I;16B", "I;16L", "I;16N"), _convert_deep),
    "I": _convert_integer,
    "F": _refuse_float,
}
