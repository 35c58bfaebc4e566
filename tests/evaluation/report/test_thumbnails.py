"""Images inside a page."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from darkrank_jax.evaluation.report.thumbnails import data_url, picture, sheet

RNG = np.random.default_rng(4)


def opened(url):
    kind, data = re.fullmatch(r"data:image/(\w+);base64,(.*)", url).groups()
    return kind, np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_small_image_keeps_every_pixel_and_a_large_one_its_form(channels):
    small = RNG.integers(0, 256, (5, 9, channels), np.uint8)
    markup = picture(small, "a cat")
    kind, found = opened(re.search(r'src="([^"]*)"', markup)[1])
    assert kind == "png"
    np.testing.assert_array_equal(found.reshape(small.shape), small)
    assert 'class="pixels"' in markup
    large = np.kron(small, np.ones((40, 40, 1), np.uint8))
    markup = picture(large, "a cat", side=36)
    kind, found = opened(re.search(r'src="([^"]*)"', markup)[1])
    assert (kind, found.shape[:2]) == ("jpeg", (20, 36))
    assert 'class="pixels"' not in markup


def test_a_sheet_has_its_images_row_by_row():
    images = RNG.integers(0, 256, (5, 4, 3, 3), np.uint8)
    whole, (width, height) = sheet(images, columns=2, side=8)
    assert (width, height) == (3, 4)
    pixels = np.asarray(whole)
    assert pixels.shape == (12, 6, 3)
    for index, image in enumerate(images):
        row, column = divmod(index, 2)
        cell = pixels[4 * row : 4 * row + 4, 3 * column : 3 * column + 3]
        np.testing.assert_array_equal(cell, image)


def test_an_exact_image_survives_its_url():
    array = RNG.integers(0, 256, (6, 7, 3), np.uint8)
    kind, found = opened(data_url(Image.fromarray(array), exact=True))
    assert kind == "png"
    np.testing.assert_array_equal(found, array)
    assert opened(data_url(Image.fromarray(array), exact=False))[0] == "jpeg"
