"""Against Pillow, and against what resampling has to keep and to lose."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from darkrank_jax.data.pixels.crops import CROPS, center_crop
from darkrank_jax.data.pixels.resampling import cut

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (10, 14, 3), np.uint8)
GRAYS = COLOURS[:, :, 1]
PHOTO = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (31, 43, 3), np.uint8)).resize(
        (430, 310), Image.Resampling.BICUBIC
    )
)


def test_cuts_part_of_a_picture():
    np.testing.assert_array_equal(cut(COLOURS, (2, 4, 10, 8), (4, 8)), COLOURS[4:8, 2:10])
    # Edges lie where they round to, and at least one pixel is left.
    np.testing.assert_array_equal(cut(COLOURS, (1.5, 4.4, 10.4, 7.5), (4, 8)), COLOURS[4:8, 2:10])
    sliver = cut(COLOURS, (3.1, 0, 3.2, 1), (2, 2))
    np.testing.assert_array_equal(sliver, np.tile(COLOURS[:1, 3:4], (2, 2, 1)))
    corner = cut(COLOURS, (13.7, 9.8, 14, 10), (1, 2))
    np.testing.assert_array_equal(corner, np.tile(COLOURS[9:, 13:], (1, 2, 1)))
    assert cut(GRAYS[:, :, None], (0, 0, 4, 4), (3, 2)).shape == (3, 2, 1)


@pytest.mark.parametrize("view", [np.s_[:, ::-1], np.s_[::-2, ::3], np.s_[..., ::-1]], ids=str)
def test_an_array_may_lie_in_memory_in_any_way(view):
    pixels = PHOTO[view]
    box = (1, 2, *pixels.shape[1::-1])
    found = cut(pixels, box, (47, 31))
    np.testing.assert_array_equal(found, cut(np.ascontiguousarray(pixels), box, (47, 31)))


SIZES = [(433, 600), (310, 215), (200, 430), (217, 300), (155, 215), (120, 150), (82, 115)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_resampling_is_pillows_but_for_rounding(size, channels):
    pixels = np.ascontiguousarray(PHOTO[:, :, :channels])
    picture = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    expected = np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR)).astype(float)
    found = cut(pixels, (0, 0, 430, 310), size)
    error = found - expected.reshape(*size, channels)
    assert np.sqrt((error**2).mean()) < 0.8
    assert np.abs(error).max() < 6
    assert abs(error.mean()) < 0.2


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([*CROPS.values(), lambda *a, share=1.0: center_crop(*a[:3], share=share)]),
    st.tuples(st.integers(1, 200), st.integers(1, 200)),
    st.tuples(st.integers(1, 200), st.integers(1, 200)),
    st.integers(0, 2**32),
)
def test_every_crop_of_every_picture_is_an_image(crop, old, new, seed):
    box = crop(old[1], old[0], new, np.random.default_rng(seed))
    assert cut(np.full((*old, 1), 7, np.uint8), box, new).shape == (*new, 1)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(0, 255),
)
def test_one_colour_stays_the_same(old, new, level):
    assert (cut(np.full((*old, 3), level, np.uint8), (0, 0, *old[::-1]), new) == level).all()


def test_what_half_the_size_cannot_hold_is_gone():
    board = (np.indices((40, 60)).sum(0)[:, :, None] % 2 * 200).astype(np.uint8)
    half = cut(board, (0, 0, 60, 40), (20, 30))
    np.testing.assert_allclose(half[1:-1, 1:-1], 100, atol=1)


@pytest.mark.parametrize("scale", [1.2, 1.55, 1.9, 2.7, 3.6, 4.7, 9.1])
def test_a_point_spreads_as_far_as_in_antialiased_bilinear_interpolation(scale):
    old, spread = 360, []
    new = round(old / scale)
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    for place in range(160, 200):
        lines = np.zeros((old, 3, 1), np.uint8)
        lines[place] = 255
        found = cut(lines, (0, 0, 3, old), (new, 3))[:, 1, 0].astype(float)
        spread.append(((centres - place) ** 2 * found).sum() / found.sum())
    # The triangle's own, of half width scale; whole pixels that are averaged first add a little.
    expected = (old / new) ** 2 / 6
    assert expected * 0.9 < np.mean(spread) < expected * (1.1 if scale < 4 else 1.25)
