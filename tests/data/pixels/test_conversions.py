"""Pixels of any mode become 8 bits on white."""

import struct

import numpy as np
import pytest
from PIL import Image

from darkrank_jax.data.pixels import conversions
from darkrank_jax.data.pixels.pictures import decode
from darkrank_jax.errors import UserError
from tests.data.image_files import encoded
from tests.data.pixels.picture_files import (
    ALPHA,
    DEEP,
    FILES,
    GRAY_LAYERS,
    GRAYS,
    LAYERS,
    PALETTE,
    chunk,
    deep_png,
    lazy,
    loaded,
)


def on_white(colours, alpha):
    return np.rint((colours * (alpha / 255.0)) + 255 - alpha)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_made_pillow_images_are_composited_on_white(mode):
    picture = {"RGBA": LAYERS, "LA": GRAY_LAYERS, "PA": LAYERS.convert("PA"), "P": PALETTE}[mode]
    layers = np.asarray(picture.convert("RGBA")).astype(float)
    found = decode(picture, size=(64, 64), grayscale=False)
    np.testing.assert_allclose(found, on_white(layers[:, :, :3], layers[:, :, 3:]), atol=1)


def test_a_made_image_of_16_bits_keeps_the_upper_8():
    found = decode(Image.fromarray(DEEP), size=(64, 64), grayscale=True)
    np.testing.assert_array_equal(found[:, :, 0], GRAYS)


def test_16_bit_gray_with_a_transparent_value_is_white_there():
    found = decode(FILES["16 bits with a transparent gray"], size=(64, 64), grayscale=True)
    expected = np.where(DEEP[2, 1] == DEEP, 255, GRAYS)
    np.testing.assert_array_equal(found[:, :, 0], expected)
    assert (expected != GRAYS).sum() == 1


def test_16_bit_gray_with_alpha_is_composited_by_the_upper_8():
    found = decode(FILES["16 bits of gray and alpha"], size=(64, 64), grayscale=True)
    np.testing.assert_allclose(found[:, :, 0], on_white(GRAYS, ALPHA), atol=1)


def tiff_tag(file, tag, value):
    """A little-endian TIFF file with another SHORT value of a tag."""
    place = file.index(struct.pack("<HH", tag, 3))
    return file[: place + 8] + struct.pack("<H", value) + file[place + 10 :]


UNCERTAIN = {
    "floats": encoded(Image.fromarray(GRAYS.astype(np.float32)), "TIFF"),
    "integers of 32 bits": encoded(Image.fromarray(DEEP.astype(np.int32)), "TIFF"),
    "white as 0": tiff_tag(encoded(Image.fromarray(DEEP), "TIFF"), 262, 0),
    "12 bits": tiff_tag(encoded(Image.fromarray(DEEP), "TIFF"), 258, 12),
    "a colour of 16 bits is transparent": deep_png(
        2, np.dstack([DEEP] * 3), chunk(b"tRNS", struct.pack(">HHH", 700, 9, 8))
    ),
}


@pytest.mark.parametrize("kind", UNCERTAIN)
@pytest.mark.parametrize("form", [bytes, lazy, loaded])
def test_pixels_without_a_known_white_are_refused(kind, form):
    with pytest.raises(UserError, match=kind) as refusal:
        decode(form(UNCERTAIN[kind]), "a.tif", size=(4, 4), grayscale=False)
    assert "\n" not in str(refusal.value)


def test_made_integers_of_32_bits_are_refused():
    with pytest.raises(UserError, match=r"^image: cannot be decoded \(.* integers of 32 bits"):
        decode(Image.fromarray(GRAYS.astype(np.int32)), size=(4, 4), grayscale=False)


@pytest.mark.parametrize("kind", FILES)
def test_strips_of_a_large_picture_give_equal_pixels(kind, monkeypatch):
    for size in ((64, 64), (4, 3)):
        expected = decode(FILES[kind], "x", size=size, grayscale=False)
        with monkeypatch.context() as patched:
            patched.setattr(conversions, "STRIP", 50)
            found = decode(FILES[kind], "x", size=size, grayscale=False)
        np.testing.assert_array_equal(found, expected)
        assert not found.flags.writeable
