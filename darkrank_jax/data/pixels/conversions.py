"""Pictures of any mode of Pillow in 8 bits a channel, gray or colour."""

from collections.abc import Callable

import numpy as np
from PIL import Image

# Formats whose mode I holds 16-bit values; in others nothing tells which value is white.
_DEEP_FORMATS = ("PNG", "PPM")
# Pixels that are converted at once.
STRIP = 2**22
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0


def to_8_bits(picture: Image.Image, mode: str, factor: int) -> np.ndarray:
    """Converts a picture to 8 bits a channel; what is transparent becomes white.

    16-bit pixels keep their upper 8 bits. A large picture is converted strip by strip, so that it
    takes little more memory than Pillow has taken for it.

    Args:
      picture: of any mode, loaded.
      mode: "L" or "RGB".
      factor: by which height and width are reduced, at least 1.

    Returns:
      uint8 [h / factor, w / factor, 1 or 3], rounded up; not to be written to.
    """
    width, height = picture.size
    step = factor * max(1, STRIP // (width * factor))
    if step >= height:
        return _convert(picture, mode, factor)
    channels = 1 if mode == "L" else 3
    pixels = np.empty((-(-height // factor), -(-width // factor), channels), np.uint8)
    for top in range(0, height, step):
        strip = picture.crop((0, top, width, min(top + step, height)))
        part = _convert(strip, mode, factor)
        pixels[top // factor : top // factor + len(part)] = part
    pixels.flags.writeable = False
    return pixels


def check_white_is_known(picture: Image.Image) -> None:
    """Refuses pixels whose range is not known, which would come out dark, clipped or inverted.

    Args:
      picture: as Pillow opened it, loaded.

    Raises:
      ValueError: nothing in the picture tells which value is white: floats (mode F), integers
        of 32 bits (mode I, unless of PNG or PNM, where Pillow has 16 bits in it), TIFF of 12 bits
        or with white as 0; or a 16-bit colour is transparent.
    """
    needed = "8 or 16 bits are needed"
    if picture.mode == "F":
        raise ValueError(f"its pixels are floats, {needed}")
    if picture.mode == "I" and picture.format not in _DEEP_FORMATS:
        raise ValueError(f"its pixels are integers of 32 bits, {needed}")
    tags = getattr(picture, "tag_v2", {})
    deep = picture.mode.startswith("I;16")
    if deep and (
        tags.get(_BITS_PER_SAMPLE, (16,)) != (16,) or tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    ):
        raise ValueError(f"its pixels are of 12 bits or have white as 0, {needed}")
    colour = picture.info.get("transparency")
    if isinstance(colour, tuple) and max(colour) > 255:
        raise ValueError("a colour of 16 bits is transparent, an alpha channel is needed")


def _convert(picture: Image.Image, mode: str, factor: int) -> np.ndarray:
    """The whole picture at once."""
    converted = _CONVERSIONS.get(picture.mode, _convert_plain)(picture, mode)
    reduced = converted.reduce(factor) if factor > 1 else converted
    return np.asarray(reduced).reshape(reduced.height, reduced.width, -1)


def _convert_plain(picture: Image.Image, mode: str) -> Image.Image:
    """From any colour space or palette."""
    if "transparency" in picture.info:
        return _convert_transparent(picture, mode)
    return picture if picture.mode == mode else picture.convert(mode)


def _convert_transparent(picture: Image.Image, mode: str) -> Image.Image:
    """What is transparent becomes white, not the colour that is stored there."""
    layers = picture.convert("RGBA")
    paper = Image.new("RGBA", layers.size, "white")
    return Image.alpha_composite(paper, layers).convert(mode)


def _convert_deep(picture: Image.Image, mode: str) -> Image.Image:
    """The upper 8 of 16 bits."""
    values = np.asarray(picture)
    upper = (values >> 8).astype(np.uint8)
    if "transparency" in picture.info:
        upper[values == picture.info["transparency"]] = 255
    return Image.fromarray(upper).convert(mode)


_CONVERSIONS: dict[str, Callable[[Image.Image, str], Image.Image]] = {
    **dict.fromkeys(("RGBA", "LA", "PA", "La", "RGBa"), _convert_transparent),
    **dict.fromkeys(("I", "I;16", "I;16B", "I;16L", "I;16N"), _convert_deep),
}
