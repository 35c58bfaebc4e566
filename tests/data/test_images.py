import io

import numpy as np
import pytest
from PIL import Image

from darkrank_jax.data.images import (
    Cache,
    EncodedImages,
    Files,
    Images,
    as_images,
    pack_names,
)
from darkrank_jax.data.pixels.crops import center_crop, whole
from darkrank_jax.data.pixels.resampling import cut
from darkrank_jax.errors import UserError

RNG = np.random.default_rng(0)
ARRAYS = [RNG.integers(0, 256, (9 + index, 16, 3), np.uint8) for index in range(6)]


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


FILES = [png(array) for array in ARRAYS]


def images(rows=(4, 0, 5, 2), reads=None, most_bytes=0, crop=whole, **options):
    def read(name):
        index = int(name.removesuffix(".png"))
        if reads is not None:
            reads.append(index)
        return FILES[index]

    files = Files(read, lambda index: f"{index}.png", "there", "1")
    options = {"size": (8, 12), "grayscale": False} | options
    return EncodedImages(files, np.array(rows), crop=crop, cache=Cache(most_bytes), **options)


def resized(index, box=None):
    array = ARRAYS[index]
    return cut(array, box or (0, 0, *array.shape[1::-1]), (8, 12))


def test_is_indexed_as_an_array_is():
    found = images()
    expected = np.stack([resized(index) for index in (4, 0, 5, 2)])
    assert len(found) == 4
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found[:], expected)
    np.testing.assert_array_equal(found[1:3], expected[1:3])
    np.testing.assert_array_equal(found[np.array([3, 3, 0])], expected[[3, 3, 0]])
    np.testing.assert_array_equal(found[2], expected[2])
    np.testing.assert_array_equal(found[np.int64(2)], expected[2])
    assert found[4:].shape == (0, 8, 12, 3)
    np.testing.assert_array_equal(found.select(np.array([2, 0]))[:], expected[[2, 0]])


def test_evaluation_sees_the_crop_and_training_the_whole():
    def crop(width, height):
        return center_crop(width, height, (8, 12), share=0.5)

    found = images(crop=crop)
    box = crop(16, 9 + 5)
    assert box == (4.0, pytest.approx(7 - 8 / 3), 12.0, pytest.approx(7 + 8 / 3))
    np.testing.assert_array_equal(found[2], resized(5, box))
    np.testing.assert_array_equal(found.picture(2), ARRAYS[5])


def test_grayscale_has_one_channel():
    found = images(grayscale=True)
    assert found.shape == found[:].shape == (4, 8, 12, 1)
    assert found[0].shape == (8, 12, 1)


def test_a_cached_picture_is_read_once():
    reads = []
    found = images(reads=reads, most_bytes=1 << 20)
    first = found[:]
    assert sorted(reads) == [0, 2, 4, 5]
    np.testing.assert_array_equal(found[:], first)
    np.testing.assert_array_equal(found.select(np.array([1, 0]))[:], first[[1, 0]])
    assert len(reads) == 4


def test_the_cache_stops_when_it_is_full():
    # 16 x 13 and 16 x 9 pixels of three bytes fit; what comes later does not.
    reads = []
    found = images(reads=reads, most_bytes=3 * 16 * (13 + 9) + 100)
    for _ in range(3):
        for row in range(4):
            np.testing.assert_array_equal(found[row], images()[row])
    assert reads == [4, 0, 5, 2, 5, 2, 5, 2]


def test_an_error_names_the_file():
    files = Files(lambda index: b"junk", lambda index: f"{index}.jpg", "cats", "1")
    broken = EncodedImages(
        files, np.array([7]), size=(8, 8), grayscale=False, crop=whole, cache=Cache(0)
    )
    for ask in (lambda: broken[0], lambda: broken[:], lambda: broken.picture(0)):
        with pytest.raises(UserError, match=r"^cats/7\.jpg: is no image"):
            ask()


def test_names_and_digest():
    assert images().names() == ["4.png", "0.png", "5.png", "2.png"]
    assert images().digest() == images().digest()
    others = [images(rows=(4, 0, 2, 5)), images(size=(8, 8)), images(grayscale=True)]
    others.append(images(crop=lambda width, height: (0, 0, width / 2, height)))
    array = np.stack([resized(4)])
    others += map(as_images, [array, array[:, ::-1], array.reshape(1, 12, 8, 3)])
    assert len({each.digest() for each in [images(), *others]}) == 8


def test_an_array_gives_what_files_of_the_same_pixels_give():
    array = np.stack([resized(index) for index in (4, 0, 5, 2)])
    held, found = as_images(array), images()
    rows, outs = np.array([2, 0, 2]), np.empty((2, 3, 8, 12, 3), np.uint8)
    for each, out in zip((held, found), outs, strict=True):
        assert isinstance(each, Images)
        assert each.shape == array.shape
        np.testing.assert_array_equal(each[1:3], array[1:3])
        np.testing.assert_array_equal(each.select(rows)[:], array[rows])
        each.read_into(rows, out)
        np.testing.assert_array_equal(out, array[rows])
    assert np.shares_memory(held, array)
    assert np.shares_memory(held.picture(1), array)
    assert type(held[0]) is np.ndarray
    assert (held.in_memory, found.in_memory, held.names()) == (True, False, [])


def test_names_of_any_language_take_the_bytes_they_have():
    names = ["猫/é.jpg", "", "a" * 300, "\udcff broken", *map(str, range(70000))]
    name = pack_names(iter(names))
    assert [name(index) for index in range(len(names))] == names
