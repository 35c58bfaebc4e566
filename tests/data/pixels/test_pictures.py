"""Every kind of image file that people have, against what was drawn into it."""

import io

import numpy as np
import pytest
from PIL import Image

from darkrank_jax.data.pixels.pictures import decode
from darkrank_jax.errors import UserError
from tests.data.image_files import encoded
from tests.data.pixels.picture_files import FILES, RGB, lazy, loaded

RNG = np.random.default_rng(0)
COLOURS = np.kron(RNG.integers(0, 256, (5, 7, 3)), np.ones((2, 2, 1))).astype(np.uint8)
GRAYS = COLOURS[:, :, 1]


def decoded(file, *, size=(64, 64), grayscale=False):
    pixels = decode(file, "a/b.jpg", size=size, grayscale=grayscale)
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == (1 if grayscale else 3)
    assert not pixels.flags.writeable
    return pixels[:, :, 0] if grayscale else pixels


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("PPM", {}), ("WEBP", {"lossless": True})],
)
def test_colour_comes_out_as_it_went_in(kind, options):
    file = encoded(Image.fromarray(COLOURS), kind, **options)
    np.testing.assert_array_equal(decoded(file), COLOURS)
    luma = COLOURS @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(decoded(file, grayscale=True), luma, atol=1)


def test_gray_becomes_three_equal_channels():
    file = encoded(Image.fromarray(GRAYS))
    np.testing.assert_array_equal(decoded(file), np.stack([GRAYS] * 3, -1))
    np.testing.assert_array_equal(decoded(file, grayscale=True), GRAYS)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_of_16_bits_the_upper_8_count(kind):
    deep = GRAYS.astype(np.uint16) * 256 + RNG.integers(0, 256, GRAYS.shape).astype(np.uint16)
    file = encoded(Image.fromarray(deep), kind)
    np.testing.assert_array_equal(decoded(file, grayscale=True), GRAYS)


def test_cmyk():
    inks = Image.fromarray(COLOURS).convert("CMYK")
    np.testing.assert_array_equal(decoded(encoded(inks, "TIFF")), COLOURS)
    near = decoded(encoded(inks, "JPEG", quality=100, subsampling=0))
    np.testing.assert_allclose(near.astype(int), COLOURS, atol=25)


def test_palette():
    palette = Image.fromarray(COLOURS).quantize(64)
    np.testing.assert_array_equal(decoded(encoded(palette)), np.asarray(palette.convert("RGB")))
    np.testing.assert_allclose(decoded(encoded(palette)).astype(int), COLOURS, atol=60)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_what_is_transparent_is_white(kind):
    alpha = np.where(np.arange(14) < 6, 0, 255).astype(np.uint8) * np.ones((10, 1), np.uint8)
    layers = Image.fromarray(np.dstack([COLOURS, alpha]))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    found = decoded(encoded(layers, kind, **options))
    assert (found[:, :6] == 255).all()
    np.testing.assert_array_equal(found[:, 6:], COLOURS[:, 6:])


def test_a_transparent_entry_of_a_palette_is_white():
    indices = Image.fromarray(np.array([[0, 1], [1, 2]], np.uint8)).convert("P")
    indices.putpalette([9, 9, 9, 50, 60, 70, 0, 0, 200])
    found = decoded(encoded(indices, transparency=0))
    assert found.tolist() == [[[255] * 3, [50, 60, 70]], [[50, 60, 70], [0, 0, 200]]]


def test_of_an_animation_the_first_picture_counts():
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
    file = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decoded(file) == [255, 0, 0]).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize(
    ("orientation", "turn"),
    [(2, np.fliplr), (3, lambda a: np.rot90(a, 2)), (6, lambda a: np.rot90(a, 3)), (8, np.rot90)],
)
def test_the_cameras_orientation_is_undone(kind, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    file = encoded(Image.fromarray(COLOURS), kind, exif=exif, **options)
    np.testing.assert_allclose(decoded(file).astype(int), turn(COLOURS), atol=12)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_large_picture_is_reduced_but_not_below_twice_the_size(kind, orientation):
    smooth = Image.fromarray(COLOURS).resize((430, 300), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decoded(encoded(smooth, kind, exif=exif, quality=98), size=(40, 30))
    width, height = (430, 300) if orientation == 1 else (300, 430)
    # Three times 2 x 40 fit into 300, seven times 2 x 30 into 430; JPEG halves first.
    factor = min(width // 60, height // 80)
    assert factor in (3, 5)
    assert found.shape[0] in (-(-height // factor), -(-height // 2), -(-height // 4))
    assert found.shape[0] >= 80
    assert found.shape[1] >= 60
    upright = smooth if orientation == 1 else smooth.transpose(Image.Transpose.ROTATE_270)
    expected = np.asarray(upright.resize(found.shape[1::-1], Image.Resampling.BOX)).astype(int)
    assert np.abs(found - expected).mean() < 2


PHOTO = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (31, 43, 3), np.uint8)).resize(
        (430, 310), Image.Resampling.BICUBIC
    )
)


@pytest.mark.parametrize("grayscale", [False, True])
@pytest.mark.parametrize("reduction", [1, 2, 4, 8, 17])
@pytest.mark.parametrize("options", [{}, {"subsampling": 0, "progressive": True}, {"exif": True}])
def test_jpeg_files_are_decoded_as_pillow_does(options, reduction, grayscale):
    if options.get("exif"):
        exif = Image.Exif()
        exif[0x0112] = 1
        options = {"exif": exif}
    file = encoded(Image.fromarray(PHOTO), "JPEG", quality=83, **options)
    size = (310 // reduction // 2, 430 // reduction // 2)
    with Image.open(io.BytesIO(file)) as picture:
        picture.draft("L" if grayscale else "RGB", (2 * size[1], 2 * size[0]))
        expected = picture.convert("L" if grayscale else "RGB")
        rest = min(expected.width // (2 * size[1]), expected.height // (2 * size[0]))
        expected = np.asarray(expected.reduce(rest) if rest > 1 else expected)
    np.testing.assert_array_equal(decoded(file, size=size, grayscale=grayscale), expected)


def test_a_gray_jpeg_file_is_decoded_as_pillow_does():
    file = encoded(Image.fromarray(PHOTO[:, :, 0]), "JPEG")
    expected = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    np.testing.assert_array_equal(decoded(file, size=(155, 215)), expected)


def test_a_broken_place_in_a_jpeg_file_is_left_to_pillow():
    file = bytearray(encoded(Image.fromarray(PHOTO), "JPEG"))
    file[len(file) // 2 : len(file) // 2 + 9] = b"\xff\xd9" + bytes(7)
    with Image.open(io.BytesIO(file)) as picture:
        expected = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(decoded(bytes(file), size=(155, 215)), expected)


WHOLE = encoded(Image.fromarray(RNG.integers(0, 256, (60, 80, 3), np.uint8)), "JPEG")


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (b"", "must not be empty; delete it or put the image there again"),
        (b"no image at all", "is no image of a known kind; delete it or save it again"),
        (WHOLE[:200], "cannot be decoded (Truncated File Read); "),
        (WHOLE[:-900], "cannot be decoded (image file is truncated "),
        (encoded(Image.fromarray(GRAYS))[:-30], "cannot be decoded ("),
        (
            encoded(Image.fromarray(GRAYS.astype(np.float32)), "TIFF"),
            "cannot be decoded (its pixels are floats, 8 or 16 bits are needed); ",
        ),
        (encoded(Image.new("1", (20000, 20000))), "cannot be decoded (Image size (400000000 "),
    ],
    ids=["empty", "text", "header", "truncated", "truncated png", "float", "absurd"],
)
def test_refuses_in_one_line(file, reason):
    with pytest.raises(UserError) as refusal:
        decoded(file)
    assert str(refusal.value).startswith(f"a/b.jpg: {reason}")
    assert "\n" not in str(refusal.value)
    assert "; delete it or " in str(refusal.value)


SIZES = {"as large": (64, 64), "reduced": (4, 3)}


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
