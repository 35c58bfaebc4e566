"""Changes of TrivialAugment, each at no level and at its largest."""

import numpy as np
import pytest

from darkrank_jax.data.pixels.trivial_augment import CHANGES, trivial_augment
from darkrank_jax.data.pixels.warping import warp

# Dark more than bright, so that equalization moves them.
GRAY, COLOUR = (
    np.random.default_rng(channels).integers(0, 16, (24, 40, channels)).astype(np.uint8) ** 2
    for channels in (1, 3)
)


@pytest.mark.parametrize("image", [GRAY, COLOUR], ids=["gray", "colour"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_level_0_changes_nothing_and_keeps_its_shape_at_others(name, image):
    before = image.copy()
    np.testing.assert_array_equal(CHANGES[name](image, 0.0), image)
    for level in (-1.0, 0.4, 1.0):
        changed = CHANGES[name](image, level)
        assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
        colours = image.shape[2] == 3
        if name != "identity" and (colours or name != "saturation"):
            assert (changed != image).any()
    np.testing.assert_array_equal(image, before)


def test_the_largest_levels_are_those_of_the_paper():
    np.testing.assert_array_equal(CHANGES["solarization"](COLOUR, 1.0), 255 - COLOUR)
    np.testing.assert_array_equal(CHANGES["posterization"](COLOUR, -1.0), COLOUR & 0b11000000)
    brighter = np.minimum(COLOUR * 1.99, 255)
    np.testing.assert_allclose(CHANGES["brightness"](COLOUR, 1.0), brighter, atol=1)
    np.testing.assert_allclose(CHANGES["brightness"](COLOUR, -1.0), COLOUR * 0.01, atol=1)
    wide = np.random.default_rng(2).integers(0, 256, (4, 7 * 8, 3), np.uint8)
    np.testing.assert_array_equal(CHANGES["shift_across"](wide, 1.0)[:, 8:], wide[:, :-8])
    np.testing.assert_array_equal(CHANGES["rotation"](GRAY, 1.0), warp(GRAY, angle=np.pi * 0.75))
    pale = COLOUR // 2 + 40
    stretched = CHANGES["autocontrast"](pale, 1.0)
    assert (stretched.min(axis=(0, 1)) == 0).all()
    assert (stretched.max(axis=(0, 1)) == 255).all()


@pytest.mark.parametrize("strength", [-0.1, 1.5])
def test_a_strength_out_of_its_range_is_an_error(strength):
    with pytest.raises(ValueError, match=r"^strength must be 0 to 1 \(got "):
        trivial_augment(GRAY, np.random.default_rng(0), strength=strength)


def test_a_shear_down_is_one_across_of_the_turned_image():
    turned = np.ascontiguousarray(COLOUR.swapaxes(0, 1))
    across = CHANGES["shear_across"](turned, 0.3).swapaxes(0, 1)
    np.testing.assert_array_equal(CHANGES["shear_down"](COLOUR, 0.3), across)


def test_every_change_is_drawn_up_to_the_strength():
    drawn = []

    class Noting(dict):
        def values(self):
            return [lambda image, level, n=n: drawn.append((n, level)) or image for n in range(3)]

    rng = np.random.default_rng(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("darkrank_jax.data.pixels.trivial_augment.CHANGES", Noting(a=1, b=2, c=3))
        for _ in range(60):
            trivial_augment(COLOUR, rng, strength=0.5)
    names, levels = zip(*drawn, strict=True)
    assert set(names) == {0, 1, 2}
    assert -0.5 < min(levels) < -0.4
    assert 0.4 < max(levels) < 0.5
