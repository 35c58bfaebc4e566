"""A path, the bytes of a file and what Pillow opened of it give the same pixels."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from darkrank_jax.data.pixels.pictures import decode
from darkrank_jax.errors import UserError

RNG = np.random.default_rng(3)
COLOURS = np.kron(RNG.integers(0, 256, (7, 5, 3)), np.ones((3, 4, 1))).astype(np.uint8)
GRAYS = COLOURS[:, :, 1]
ALPHA = RNG.integers(0, 256, GRAYS.shape, np.uint8)
DEEP = GRAYS.astype(np.uint16) * 256 + RNG.integers(0, 256, GRAYS.shape).astype(np.uint16)


def encoded(picture, kind="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deep_png(colour_type, pixels, *more):
    """A PNG file of 16 bits, of kinds that Pillow does not write."""
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    body = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    parts = [chunk(b"IHDR", header), *more, chunk(b"IDAT", zlib.compress(body))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def on_white(colours, alpha):
    return np.rint((colours * (alpha / 255.0)) + 255 - alpha)


RGB = Image.fromarray(COLOURS)
LAYERS = Image.fromarray(np.dstack([COLOURS, ALPHA]))
GRAY_LAYERS = Image.fromarray(np.dstack([GRAYS, ALPHA]), "LA")
PALETTE = RGB.quantize(16)
FILES = {
    "png": encoded(RGB),
    "gray png": encoded(Image.fromarray(GRAYS)),
    "turned png": encoded(RGB, exif=turned(7)),
    "alpha": encoded(LAYERS),
    "gray alpha": encoded(GRAY_LAYERS),
    "palette": encoded(PALETTE),
    "palette with a transparent entry": encoded(PALETTE, transparency=3),
    "palette with alpha": encoded(PALETTE, transparency=bytes(range(0, 256, 16))),
    "colour with a transparent one": encoded(RGB, transparency=tuple(COLOURS[0, 0].tolist())),
    "one bit": encoded(Image.fromarray(GRAYS > 100)),
    "16 bits": encoded(Image.fromarray(DEEP)),
    "16 bits with a transparent gray": deep_png(
        0, DEEP, chunk(b"tRNS", struct.pack(">H", DEEP[2, 1]))
    ),
    "16 bits of gray and alpha": deep_png(4, np.dstack([DEEP, ALPHA.astype(int) * 257])),
    "jpeg": encoded(RGB, "JPEG"),
    "gray jpeg": encoded(Image.fromarray(GRAYS), "JPEG"),
    "turned jpeg": encoded(RGB, "JPEG", exif=turned(6)),
    "progressive jpeg": encoded(RGB, "JPEG", progressive=True),
    "cmyk jpeg": encoded(RGB.convert("CMYK"), "JPEG"),
    "cmyk tiff": encoded(RGB.convert("CMYK"), "TIFF"),
    "turned tiff": encoded(RGB, "TIFF", exif=turned(5)),
    "16-bit tiff": encoded(Image.fromarray(DEEP), "TIFF"),
    "alpha tiff": encoded(LAYERS, "TIFF"),
    "lab tiff": encoded(RGB.convert("LAB"), "TIFF"),
    "webp": encoded(RGB, "WEBP", lossless=True),
    "turned webp with alpha": encoded(LAYERS, "WEBP", lossless=True, exact=True, exif=turned(8)),
    "gif": encoded(PALETTE, "GIF", transparency=3),
    "bmp": encoded(RGB, "BMP"),
    "16-bit pgm": encoded(Image.fromarray(DEEP), "PPM"),
}
SIZES = {"as large": (64, 64), "reduced": (4, 3)}


def lazy(file):
    return Image.open(io.BytesIO(file))


def loaded(file):
    picture = lazy(file)
    picture.load()
    return picture


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", FILES)
def test_path_bytes_and_pillow_image_give_equal_pixels(kind, size, tmp_path):
    file, options = FILES[kind], {"size": SIZES[size], "grayscale": "gray" in kind}
    (tmp_path / "file").write_bytes(file)
    expected = decode(file, "x", **options)
    forms = [tmp_path / "file", str(tmp_path / "file"), lazy(file), loaded(file)]
    for form in forms if "jpeg" not in kind or size == "as large" else forms[:-1]:
        np.testing.assert_array_equal(decode(form, **options), expected)
        # A second time, of what is loaded by now.
        if size == "as large":
            np.testing.assert_array_equal(decode(form, **options), expected)


def test_a_path_opened_by_pillow_gives_the_pixels_of_the_path(tmp_path):
    for kind, file in FILES.items():
        (tmp_path / "file").write_bytes(file)
        with Image.open(tmp_path / "file") as picture:
            found = decode(picture, size=(4, 3), grayscale=False)
        np.testing.assert_array_equal(
            found, decode(file, "x", size=(4, 3), grayscale=False), err_msg=kind
        )


def test_a_loaded_jpeg_that_is_reduced_differs_by_rounding_alone():
    smooth = RGB.resize((320, 240), Image.Resampling.BICUBIC)
    file = encoded(smooth, "JPEG", quality=95)
    found = decode(loaded(file), size=(30, 40), grayscale=False).astype(int)
    assert np.abs(found - decode(file, size=(30, 40), grayscale=False)).max() <= 6


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


def test_the_current_frame_of_a_pillow_image_counts():
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
    picture = lazy(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    picture.seek(1)
    assert (decode(picture, size=(4, 4), grayscale=False) == [0, 0, 255]).all()


def test_a_pillow_image_is_as_it_was_after_decoding():
    picture = lazy(FILES["turned jpeg"])
    decode(picture, size=(4, 3), grayscale=True)
    assert picture.size == RGB.size
    assert picture.getexif()[0x0112] == 6
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(lazy(FILES["turned jpeg"])))


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
