"""The script beside an export gives, bit for bit, the pixels that the package itself makes."""

import numpy as np
import pytest
from PIL import Image

from darkrank_jax.export.card import write_preprocess
from darkrank_jax.inference.load import LoadedRun


def picture(rng, width, height, mode):
    """Smooth noise, as photographs have it, and sharp edges."""
    coarse = rng.integers(0, 256, (height // 9 + 2, width // 9 + 2, 4), np.uint8)
    image = Image.fromarray(coarse, "RGBA").resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.array(image)
    pixels[height // 3 : height // 2, width // 4 : width // 2] = (250, 3, 90, 20)
    return Image.fromarray(pixels, "RGBA").convert(mode)


def save(kind, rng, width, height, path):
    """A file of one kind."""
    if kind == "jpeg":
        picture(rng, width, height, "RGB").save(path, "JPEG", quality=90)
    elif kind == "gray jpeg":
        picture(rng, width, height, "L").save(path, "JPEG")
    elif kind == "turned jpeg":
        exif = Image.Exif()
        exif[0x0112] = 6
        picture(rng, width, height, "RGB").save(path, "JPEG", exif=exif)
    elif kind == "palette":
        picture(rng, width, height, "RGB").quantize(37).save(path, "PNG", transparency=5)
    elif kind == "deep":
        deep = rng.integers(0, 2**16, (height, width), np.uint16)
        Image.fromarray(deep).save(path, "PNG")
    else:
        picture(rng, width, height, kind).save(path, "PNG")


KINDS = ("jpeg", "gray jpeg", "turned jpeg", "palette", "deep", "RGB", "RGBA", "L", "LA")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pictures of each kind, smaller and up to eleven times larger than an image."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(3)
    for kind in KINDS:
        for width, height in ((20, 31), (48, 32), (67, 45), (150, 333), (521, 260)):
            save(kind, rng, width, height, folder / f"{kind}_{width}x{height}")
    return sorted(folder.iterdir())


@pytest.mark.parametrize(
    ("shape", "share"),
    [([32, 48, 3], 1.0), ([32, 48, 1], 0.875), ([32, 32, 3], 0.0), ([24, 16, 3], 0.5)],
)
def test_the_script_gives_the_pixels_that_the_network_is_given(shape, share, files, tmp_path):
    facts = {"image_shape": shape, "center_crop": share}
    write_preprocess(tmp_path / "preprocess.py", facts)
    names = {}
    exec(compile((tmp_path / "preprocess.py").read_text(), "preprocess.py", "exec"), names)
    network = LoadedRun(facts, lambda images: images)
    assert len(files) == 5 * len(KINDS)
    for file in files:
        found = names["preprocess"](file)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, network.prepare(file), err_msg=file.name)


def test_the_script_needs_nothing_of_this_package(tmp_path):
    write_preprocess(tmp_path / "preprocess.py", {"image_shape": [8, 9, 1], "center_crop": 0.5})
    text = (tmp_path / "preprocess.py").read_text()
    assert 'HEIGHT, WIDTH, MODE, SHARE = 8, 9, "L", 0.5\n' in text
    assert "import darkrank" not in text
    assert "from darkrank" not in text
