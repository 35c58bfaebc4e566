import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkrank_jax.data.pixels.crops import CROPS, center_crop

SIDES = st.integers(1, 900)
RNG = np.random.default_rng(0)


@settings(max_examples=150, deadline=None)
@given(SIDES, SIDES, st.tuples(st.integers(8, 300), st.integers(8, 300)), st.integers(0, 99))
def test_a_random_part_lies_within_the_picture(width, height, size, seed):
    for crop in CROPS.values():
        left, top, right, bottom = crop(width, height, size, np.random.default_rng(seed))
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height


@settings(max_examples=100, deadline=None)
@given(SIDES, SIDES, st.integers(8, 300), st.integers(8, 300))
def test_the_middle_is_the_largest_part_of_the_images_shape(width, height, rows, columns):
    left, top, right, bottom = center_crop(width, height, (rows, columns))
    assert (right - left) / (bottom - top) == pytest.approx(columns / rows)
    assert left + right == pytest.approx(width)
    assert top + bottom == pytest.approx(height)
    assert right - left == pytest.approx(width) or bottom - top == pytest.approx(height)


def test_a_share_is_the_crop_after_the_shorter_side_is_resized():
    # 500 x 375 to 341.33 x 256, of which the middle 224: from 58.67 and 16, times 375 / 256.
    expected = np.array([341.333 / 2 - 112, 16, 341.333 / 2 + 112, 240]) * 375 / 256
    assert center_crop(500, 375, (224, 224), share=224 / 256) == pytest.approx(expected, abs=0.01)


def boxes(name, **options):
    crop = CROPS[name]
    drawn = [crop(300, 200, (128, 64), np.random.default_rng(s), **options) for s in range(3000)]
    return np.array(drawn)


def test_random_resized_crops_have_the_asked_areas_and_shapes():
    left, top, right, bottom = boxes("random_resized_crop", area=(0.1, 0.25), ratio=(0.8, 1.25)).T
    areas, shapes = (right - left) * (bottom - top) / 60000, (right - left) / (bottom - top)
    assert areas.min() == pytest.approx(0.1, abs=0.005)
    assert areas.max() == pytest.approx(0.25, abs=0.005)
    assert areas.mean() == pytest.approx(0.175, abs=0.005)
    # Relative to the image's 1 : 2; uniform in the logarithm.
    assert (shapes.min(), shapes.max()) == pytest.approx((0.4, 0.625), abs=0.01)
    assert np.log(2 * shapes).mean() == pytest.approx(0.0, abs=0.01)
    assert ((left + right) / 2).mean() == pytest.approx(150, abs=3)
    assert ((top + bottom) / 2).mean() == pytest.approx(100, abs=3)


def test_a_crop_that_never_fits_is_the_middle():
    box = CROPS["random_resized_crop"](1000, 10, (8, 8), RNG, area=(0.9, 1.0))
    # Ten rows, so at most 13.3 columns at the widest shape.
    assert box == pytest.approx((500 - 20 / 3, 0, 500 + 20 / 3, 10), abs=0.02)


def test_resized_random_crops_keep_size_and_move():
    left, top, right, bottom = boxes("resized_random_crop", share=0.75).T
    assert right - left == pytest.approx(75)
    assert bottom - top == pytest.approx(150)
    assert (left.min(), left.max()) == pytest.approx((0, 225), abs=1)
    assert (top.min(), top.max()) == pytest.approx((0, 50), abs=1)
