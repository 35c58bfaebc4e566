"""Images moved about their middle."""

import numpy as np
import pytest

from darkrank_jax.data.pixels.warping import warp

IMAGES = {
    channels: np.random.default_rng(channels).integers(0, 256, (8, 20, channels), np.uint8)
    for channels in (1, 3)
}


@pytest.mark.parametrize("channels", IMAGES)
def test_nothing_moves_by_default(channels):
    np.testing.assert_array_equal(warp(IMAGES[channels]), IMAGES[channels])


@pytest.mark.parametrize("channels", IMAGES)
def test_a_shift_goes_right_and_down_and_lets_the_corners_in(channels):
    image = IMAGES[channels]
    moved = warp(image, shift=(0.1, 0.25))
    np.testing.assert_array_equal(moved[2:, 2:], image[:-2, :-2])
    corners = np.median(image[[0, 0, -1, -1], [0, -1, 0, -1]], axis=0)
    np.testing.assert_array_equal(moved[0, 0], corners.astype(np.uint8))


@pytest.mark.parametrize("channels", IMAGES)
def test_half_a_turn_reverses_both_axes(channels):
    image = IMAGES[channels]
    turned = warp(image, angle=np.pi)
    np.testing.assert_allclose(
        turned[1:-1, 1:-1].astype(int), image[::-1, ::-1][1:-1, 1:-1], atol=1
    )


def test_a_shear_moves_rows_in_proportion_to_their_height():
    image = np.zeros((9, 21, 1), np.uint8)
    image[:, 10] = 255
    columns = warp(image, shear=1.0)[:, :, 0].argmax(axis=1)
    assert set(np.diff(columns).tolist()) in ({1}, {-1})
    assert columns[4] == 10
