"""Networks loaded to embed images."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from darkrank_jax.errors import UserError

PIXELS = np.random.default_rng(2).integers(0, 256, (16, 16), np.uint8)


def test_an_image_is_taken_whole_where_the_network_saw_them_so(network):
    wide = np.random.default_rng(3).integers(0, 256, (16, 48, 1), np.uint8)
    whole = dataclasses.replace(network, facts=network.facts | {"center_crop": 0.0})
    # Three columns become one; the middle third alone is another picture.
    means = wide.reshape(16, 16, 3).mean(axis=2)
    assert np.abs(whole.prepare(wide)[:, :, 0] - means).mean() < 20
    assert np.abs(network.prepare(wide)[:, :, 0] - means).mean() > 40


def test_embed_takes_images_of_any_kind_and_size(network, pictures):
    path = sorted(pictures.rglob("*.png"))[3]
    picture = Image.open(path)
    array = np.asarray(picture)
    (expected,) = network.embed(path)
    for image in (str(path), picture, array, array[:, :, None], np.stack([array] * 3, axis=-1)):
        np.testing.assert_allclose(network.embed([image])[0], expected, atol=1e-6)
    larger = network.embed([array.repeat(4, axis=0).repeat(4, axis=1)])
    assert larger[0] @ expected > 0.98
    wide = np.pad(array, ((0, 0), (8, 8)))
    np.testing.assert_allclose(network.embed([wide])[0], expected, atol=1e-6)
    inverted = network.embed([255 - array], invert=True)
    np.testing.assert_allclose(inverted[0], expected, atol=1e-6)


def test_embed_keeps_the_order_over_batches(network):
    images = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 1), np.uint8)
    whole = network.embed(images)
    parts = network.embed(iter(images), batch_size=3)
    np.testing.assert_allclose(parts, whole, atol=1e-6)
    assert np.linalg.norm(whole - whole[::-1]) > 0.1
    assert network.embed([]).shape == (0, 8)


def test_embed_refuses_what_is_no_image(network, tmp_path):
    (tmp_path / "no.png").write_text("no image")
    with pytest.raises(UserError, match=r"no\.png: is no image"):
        network.embed([tmp_path / "no.png"])
    with pytest.raises(UserError, match=r"missing\.png: cannot be read \(No such file"):
        network.embed(tmp_path / "missing.png")
    with pytest.raises(UserError, match=r"images\[0\]: must be .* \(got float64 \[16, 16\]\)$"):
        network.embed([np.zeros((16, 16))])


def test_facts_are_plain(network):
    assert json.loads(json.dumps(network.facts)) == network.facts
    assert network.facts["image_shape"] == [16, 16, 1]
    assert network.facts["embedding_dim"] == 8


@pytest.mark.parametrize(
    ("images", "got"),
    [
        ([PIXELS, None], r"images\[1\]: .* \(got None\)"),
        ([["a.png"]], r"images\[0\]: .* \(got list\)"),
        ({"a.png": 1}, r"images: .* \(got dict\)"),
        (3, r"images: .* \(got int\)"),
        (None, r"images: .* \(got NoneType\)"),
        (PIXELS[:0], r"images: .* \(got uint8 \[0, 16\]\)"),
        (PIXELS / 255, r"images: .* \(got float64 \[16, 16\]\)"),
        (np.zeros((2, 16, 16, 4), np.uint8), r"images\[0\]: .* \(got uint8 \[16, 16, 4\]\)"),
        (np.zeros((1, 2, 16, 16, 1), np.uint8), r"images\[0\]: .* \(got uint8 \[2, 16, 16, 1\]\)"),
    ],
)
def test_embed_refuses_what_is_no_image_by_a_type_error(network, images, got):
    for kind in (TypeError, UserError):
        with pytest.raises(kind, match=got):
            network.embed(images)


def test_path_bytes_picture_and_arrays_give_one_embedding(network, tmp_path):
    large = np.asarray(Image.fromarray(PIXELS).resize((90, 70)))
    Image.fromarray(large).save(tmp_path / "a.png")
    (expected,) = network.embed(tmp_path / "a.png")
    file = (tmp_path / "a.png").read_bytes()
    for image in (file, Image.fromarray(large), large, jnp.asarray(large), large[:, :, None]):
        np.testing.assert_array_equal(network.embed(image)[0], expected)
        np.testing.assert_array_equal(network.embed([image])[0], expected)


def test_embed_of_a_folder_says_what_to_give(network, pictures):
    with pytest.raises(UserError) as error:
        network.embed(pictures)
    assert str(error.value) == (
        f"{pictures}: is a folder; give its files, or --mode embed for a gallery of all"
    )


def test_embed_takes_pictures_that_close_and_a_buffer_that_is_filled_again(network, pictures):
    paths = sorted(pictures.rglob("*.png"))[:5]
    expected = network.embed(paths)

    def opened():
        for path in paths:
            with Image.open(path) as picture:
                yield picture

    def filled():
        buffer = np.empty((16, 16, 1), np.uint8)
        for path in paths:
            buffer[:] = network.prepare(path)
            yield buffer

    for images in (opened(), filled(), iter(paths)):
        np.testing.assert_allclose(network.embed(images, batch_size=4), expected, atol=1e-6)
