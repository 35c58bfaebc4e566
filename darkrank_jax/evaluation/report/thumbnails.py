"""Images inside the page, small and without a request."""

import base64
import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from darkrank_jax.evaluation.report.markup import Html, tag

# Larger pictures are reduced to this number of pixels, to bound the size of the page.
_LONGEST_SIDE = 64


def picture(
    image: UInt8[np.ndarray, "h w c"], alt: str, title: str | None = None, side: int = _LONGEST_SIDE
) -> Html:
    """An image inside the page; one that is shown larger than it is keeps its pixels sharp.

    Args:
      image: with 1 or 3 channels; a larger one than `side` is reduced, a smaller one kept exactly.
      alt: what it shows.
      title: what hovering says.
      side: longest, in pixels.

    Returns:
      An img.

    Example:
      >>> picture(np.zeros((2, 3, 1), np.uint8), "a cat")[:24]
      '<img src="data:image/png'
    """
    drawn = _opened(image)
    kind = "pixels" if max(drawn.size) <= side else None
    drawn.thumbnail((side, side))
    source = data_url(drawn, exact=kind is not None)
    size = {"width": drawn.width, "height": drawn.height}
    return tag("img", src=source, alt=alt, title=title, class_=kind, **size)


def sheet(
    images: UInt8[np.ndarray, "n h w c"], columns: int, side: int
) -> tuple[Image.Image, tuple[int, int]]:
    """Many images side by side in one, which the page loads once.

    Args:
      images: at least one.
      columns: in a row of the sheet.
      side: longest side of a cell, in pixels; smaller images stay as they are.

    Returns:
      The sheet and (width, height) of a cell.
    """
    first = _opened(images[0])
    first.thumbnail((side, side))
    width, height = first.size
    rows = -(-len(images) // columns)
    whole = Image.new(first.mode, (min(columns, len(images)) * width, rows * height))
    for index, image in enumerate(images):
        drawn = _opened(image)
        drawn.thumbnail((side, side))
        whole.paste(drawn, (index % columns * width, index // columns * height))
    return whole, (width, height)


def data_url(image: Image.Image, *, exact: bool) -> str:
    """An image as the text of a URL: PNG where every pixel counts, JPEG otherwise."""
    buffer = io.BytesIO()
    if exact:
        image.save(buffer, format="PNG", optimize=True)
    else:
        image.save(buffer, format="JPEG", quality=85, optimize=True)
    kind = "png" if exact else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _opened(image: np.ndarray) -> Image.Image:
    """An image as Pillow has it."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
