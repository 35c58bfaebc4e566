"""Characters drawn with the fonts that matplotlib ships: images without a download."""

import unicodedata
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from darkrank_jax.data.split import (
    Split,
    check_ranges,
    height_and_width,
    select_classes,
    shuffle_classes,
)
from darkrank_jax.errors import UserError

FACES = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
)
# Least number of faces that have a character, so that no class is a single typeface.
_ENOUGH_FACES = 8
# Drawn larger, distorted, then reduced: edges stay smooth.
_OVERSAMPLING = 2
_MESH = 3
# Its dots differ in their place on the line alone, which the distortion moves.
_BRAILLE = range(0x2800, 0x2900)


def glyphs(
    *,
    path: str = "",
    image_size: int | tuple[int, int] = 32,
    num_classes: int = 1000,
    images_per_class: int = 20,
    distortion: float = 1.0,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.25,
    seed: int = 0,
) -> dict[str, Split]:
    """Distorted characters, one class a character, split by character.

    Each image has a face of its own, turned, sheared, scaled, shifted, warped, blurred and noisy.
    It depends on seed, character and number alone, so a class looks the same in a larger set.

    Args:
      path: must be empty; sources of files have it.
      image_size: pixels, of a square.
      num_classes: characters.
      images_per_class: images of each, at least 2.
      distortion: strength; 0 leaves the faces alone apart, 1 is meant for training.
      validation_fraction: share of the characters held out to validate on.
      test_fraction: share held out to test on.
      seed: of characters, images and splits.

    Returns:
      "train", "validation" and "test"; uint8 [n, size, size, 1], strokes 255 on 0. A class is
      named by its character and Unicode name.

    Raises:
      UserError: a path, no square, a number out of its range, more classes than there are
        characters, or fractions that leave none to train on.
    """
    if path:
        raise UserError(
            f"data.path: must be empty for glyphs, which are drawn and not read (got {path}); "
            "leave it out, or give data.source = images for a folder of your own"
        )
    check_ranges(
        images_per_class=images_per_class,
        distortion=distortion,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        seed=seed,
    )
    height, width = height_and_width(image_size)
    if height != width:
        raise UserError(
            f"data.image_size: must be square for glyphs (got {image_size}); give one number"
        )
    characters = _characters()
    if num_classes > len(characters):
        raise UserError(
            f"data.options.num_classes: must be at most {len(characters)}, the characters of the "
            f"fonts (got {num_classes})"
        )
    held_out = [round(share * num_classes) for share in (validation_fraction, test_fraction)]
    if min(held_out) < 1 or num_classes - sum(held_out) < 2:
        raise UserError(
            f"data.options: of {num_classes} classes {held_out[0]} validate and {held_out[1]} "
            "test; change num_classes, validation_fraction or test_fraction so that all splits "
            "have classes"
        )
    order = np.random.default_rng(seed).permutation(len(characters))[:num_classes]
    chosen = [characters[index] for index in order]
    images = np.concatenate(
        [_draw_class(each, height, images_per_class, distortion, seed) for each in chosen]
    )
    labels = np.repeat(np.arange(num_classes), images_per_class)
    names = [f"{each} {unicodedata.name(each, '')}".rstrip() for each in chosen]
    validation, test, train = np.split(shuffle_classes(num_classes, seed), np.cumsum(held_out))
    whole = Split(images, labels, tuple(names))
    return {
        name: select_classes(whole, chosen)
        for name, chosen in (("train", train), ("validation", validation), ("test", test))
    }


@lru_cache(maxsize=1)
def _characters() -> list[str]:
    """Letters, numbers and symbols that enough faces have, one of each shape."""
    counts: dict[int, int] = {}
    for face in FACES:
        for code in FT2Font(str(_font_path(face))).get_charmap():
            counts[code] = counts.get(code, 0) + 1
    drawn: dict[bytes, str] = {}
    for code in sorted(code for code, count in counts.items() if count >= _ENOUGH_FACES):
        character = chr(code)
        if unicodedata.category(character)[0] in "LNS" and code not in _BRAILLE:
            # Latin A, Greek Alpha and Cyrillic A are one drawing, so they are one class.
            shape = b"".join(_draw(character, face, 32).tobytes() for face in FACES[0:12:8])
            if any(shape):
                drawn.setdefault(shape, character)
    return sorted(drawn.values())


def _draw_class(
    character: str, image_size: int, count: int, distortion: float, seed: int
) -> np.ndarray:
    """Images of one character [count, size, size, 1]."""
    rng = np.random.default_rng((seed, ord(character)))
    faces = [face for face in FACES if ord(character) in _charmap(face)]
    size = image_size * _OVERSAMPLING
    images = np.empty((count, image_size, image_size), np.float32)
    for index in range(count):
        picture = _draw(character, faces[rng.integers(len(faces))], size)
        picture = _warp(picture, rng, distortion)
        blur = rng.uniform(0, 0.04 * distortion) * size
        picture = picture.filter(ImageFilter.GaussianBlur(blur))
        images[index] = np.asarray(picture.resize((image_size, image_size), Image.Resampling.BOX))
    ink = rng.uniform(1 - 0.4 * distortion, 1, size=(count, 1, 1))
    noise = rng.normal(0, 12 * distortion, size=images.shape)
    return np.clip(images * ink + noise, 0, 255).astype(np.uint8)[..., None]


def _draw(character: str, face: str, size: int) -> Image.Image:
    """A character in the middle of a black square."""
    picture = Image.new("L", (size, size), 0)
    font = _font(face, round(0.68 * size))
    ImageDraw.Draw(picture).text((size / 2, size / 2), character, fill=255, font=font, anchor="mm")
    return picture


def _warp(picture: Image.Image, rng: np.random.Generator, distortion: float) -> Image.Image:
    """Turns, scales, shears, shifts, and moves the knots of a mesh, all in one resampling."""
    size = picture.size[0]
    angle, shear = distortion * rng.uniform(-0.3, 0.3), distortion * rng.uniform(-0.25, 0.25)
    scale = 1 + distortion * rng.uniform(-0.2, 0.3, size=2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1.0, shear], [0.0, 1.0]]) * scale
    knots = np.linspace(0, size, _MESH + 1)
    grid = np.stack(np.meshgrid(knots, knots, indexing="xy"), axis=-1)
    moved = (grid - size / 2) @ matrix.T + size / 2
    moved += distortion * size * rng.uniform(-0.08, 0.08, size=2)
    moved += distortion * size * rng.uniform(-0.06, 0.06, size=grid.shape)
    boxes = knots.round().astype(int)
    mesh = [
        (
            (boxes[x], boxes[y], boxes[x + 1], boxes[y + 1]),
            # Pillow's corners run down the left side and up the right one.
            tuple(moved[[y, y + 1, y + 1, y], [x, x, x + 1, x + 1]].reshape(-1)),
        )
        for y in range(_MESH)
        for x in range(_MESH)
    ]
    return picture.transform(picture.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


@lru_cache(maxsize=256)
def _font(face: str, size: int) -> ImageFont.FreeTypeFont:
    """A face at a size in pixels; Pillow's own layout, so that no system library matters."""
    return ImageFont.truetype(_font_path(face), size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=len(FACES))
def _charmap(face: str) -> frozenset[int]:
    """The code points that a face has."""
    return frozenset(FT2Font(str(_font_path(face))).get_charmap())


def _font_path(face: str) -> Path:
    """Where matplotlib keeps a face."""
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"
