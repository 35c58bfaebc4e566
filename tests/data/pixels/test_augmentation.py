import numpy as np
import pytest

from darkrank_jax.data.pixels.augmentation import AUGMENTATIONS, augment
from darkrank_jax.data.pixels.crops import CROPS, whole
from darkrank_jax.data.pixels.resampling import cut

GRAY = np.random.default_rng(0).integers(0, 256, (12, 16, 1), np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (12, 16, 3), np.uint8)
NOTHING = {
    "horizontal_flip": {"probability": 0.0},
    "random_affine": {},
    "random_crop": {"padding": 0},
    "random_erasing": {"probability": 0.0},
    "color_jitter": {},
    "gaussian_blur": {"probability": 0.0},
    "trivial_augment": {"strength": 0.0},
}


@pytest.mark.parametrize("image", [GRAY, COLOUR], ids=["gray", "colour"])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_no_strength_changes_nothing(name, image):
    changed = AUGMENTATIONS[name](image, np.random.default_rng(2), **NOTHING[name])
    np.testing.assert_allclose(changed.astype(int), image, atol=1)


@pytest.mark.parametrize("image", [GRAY, COLOUR], ids=["gray", "colour"])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_defaults_keep_shape_and_follow_the_generator(name, image):
    before = image.copy()
    results = [AUGMENTATIONS[name](image, np.random.default_rng(seed)) for seed in range(12)]
    assert all(result.shape == image.shape and result.dtype == np.uint8 for result in results)
    np.testing.assert_array_equal(results[3], AUGMENTATIONS[name](image, np.random.default_rng(3)))
    np.testing.assert_array_equal(image, before)
    # Of which the defaults are no change, or none of so few pixels.
    if name not in ("random_affine", "color_jitter", "gaussian_blur"):
        assert len({result.tobytes() for result in results}) > 1


class Fixed(np.random.Generator):
    """A generator that draws the top of every range."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))

    def uniform(self, low, high, size=None):
        return high if size is None else np.full(size, high)


def test_affine_shifts_by_whole_pixels():
    moved = AUGMENTATIONS["random_affine"](GRAY, Fixed(), translate=0.25)
    np.testing.assert_array_equal(moved[3:, 4:], GRAY[:-3, :-4])


def test_affine_turns_by_a_right_angle():
    square = GRAY[:, :12]
    turned = AUGMENTATIONS["random_affine"](square, Fixed(), degrees=90.0)
    inner = np.s_[1:-1, 1:-1]
    both = [np.rot90(square, turns).astype(int) for turns in (1, 3)]
    assert any(np.allclose(turned[inner], each[inner], atol=2) for each in both)


def test_affine_scales_about_the_middle():
    image = np.zeros((16, 16, 1), np.uint8)
    image[6:10, 6:10] = 200
    larger = AUGMENTATIONS["random_affine"](image, Fixed(), scale=(1.0, 2.0))
    assert larger[:, :, 0].astype(float).sum() == pytest.approx(4 * 16 * 200, rel=0.15)
    assert larger[8, 8, 0] == 200


def test_flip_mirrors():
    flipped = AUGMENTATIONS["horizontal_flip"](COLOUR, np.random.default_rng(0), probability=1.0)
    np.testing.assert_array_equal(flipped, COLOUR[:, ::-1])


def test_erasing_covers_one_rectangle_of_the_asked_area():
    erased = AUGMENTATIONS["random_erasing"](
        COLOUR, np.random.default_rng(5), probability=1.0, area=(0.25, 0.25)
    )
    rows, columns = np.nonzero((erased != COLOUR).any(-1))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert height * width == pytest.approx(0.25 * 12 * 16, rel=0.35)
    np.testing.assert_array_equal(erased[rows[0], columns[0]], COLOUR.mean(axis=(0, 1)).astype(int))


def test_jitter_scales_brightness():
    brighter = AUGMENTATIONS["color_jitter"](COLOUR, Fixed(), brightness=0.5)
    np.testing.assert_allclose(brighter, np.minimum(COLOUR * 1.5, 255), atol=1)


def test_jitter_stretches_contrast_about_the_mean_gray():
    stretched = AUGMENTATIONS["color_jitter"](GRAY, Fixed(), contrast=0.5)
    mean = round(GRAY.mean())
    expected = np.clip(mean + 1.5 * (GRAY.astype(float) - mean), 0, 255)
    np.testing.assert_allclose(stretched, expected, atol=1)


def test_jitter_moves_each_pixel_from_its_own_gray():
    pale = COLOUR // 4 + 96
    vivid = AUGMENTATIONS["color_jitter"](pale, Fixed(), saturation=1.0)
    gray = (pale @ [0.299, 0.587, 0.114])[..., None]
    np.testing.assert_allclose(vivid, np.clip(2.0 * pale - gray, 0, 255), atol=2)


def test_jitter_turns_red_to_green_by_a_third_of_the_circle():
    red = np.tile(np.array([200, 0, 0], np.uint8), (4, 5, 1))
    turned = AUGMENTATIONS["color_jitter"](red, Fixed(), hue=1 / 3)
    np.testing.assert_allclose(turned[0, 0].astype(int), [0, 200, 0], atol=5)
    np.testing.assert_array_equal(AUGMENTATIONS["color_jitter"](GRAY, Fixed(), hue=0.4), GRAY)


def test_blur_is_a_gaussian_of_a_share_of_the_shorter_side():
    image = np.zeros((40, 60, 3), np.uint8)
    image[20, 30] = 255
    options = {"probability": 1.0, "sigma": (0.05, 0.05)}
    blurred = AUGMENTATIONS["gaussian_blur"](image, np.random.default_rng(0), **options)
    rows, columns = np.mgrid[:40, :60]
    bell = np.exp(-((rows - 20) ** 2 + (columns - 30) ** 2) / (2 * (0.05 * 40) ** 2))
    np.testing.assert_allclose(blurred[:, :, 1], 255 * bell / bell.sum(), atol=1)


def test_an_image_is_cut_flipped_and_coloured_in_the_order_of_the_table():
    # Written in another order than they apply in.
    changes = {
        "color_jitter": {"brightness": 0.3},
        "horizontal_flip": {"probability": 1.0},
        "random_resized_crop": {"area": (0.2, 0.9)},
    }
    rng = np.random.default_rng(8)
    left, top, right, bottom = CROPS["random_resized_crop"](16, 12, (6, 5), rng, area=(0.2, 0.9))
    expected = cut(COLOUR[top:bottom, left:right], (0, 0, right - left, bottom - top), (6, 5))
    for name in ("horizontal_flip", "color_jitter"):
        expected = AUGMENTATIONS[name](expected, rng, **changes[name])
    (image,) = augment([COLOUR], [(6, 5)], changes, np.random.default_rng(8), crop=whole)
    np.testing.assert_array_equal(image, expected)


def test_without_a_crop_the_given_part_is_taken():
    rng = np.random.default_rng(0)
    (image,) = augment([COLOUR], [(3, 4)], {}, rng, crop=lambda *_: (5, 2, 9, 5))
    np.testing.assert_array_equal(image, COLOUR[2:5, 5:9])


@pytest.mark.parametrize("crop", ["random_resized_crop", "resized_random_crop"])
@pytest.mark.parametrize("seed", range(6))
def test_two_sizes_have_the_same_part_and_the_same_changes(seed, crop):
    # Smooth, so that a size does not change what is seen; each direction has a colour of its own.
    ramp = np.linspace(0, 1, 240)
    picture = np.empty((240, 240, 3), np.float32)
    picture[..., 0] = 60 + 130 * ramp
    picture[..., 1] = 60 + 130 * ramp[:, None]
    picture[..., 2] = 120 + 60 * np.cos(3 * ramp) * ramp[:, None]
    changes = {
        crop: {},
        "random_affine": {"degrees": 15.0, "translate": 0.1, "scale": (0.9, 1.1)},
        "horizontal_flip": {},
        "trivial_augment": {"strength": 0.3},
        "color_jitter": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.3, "hue": 0.1},
        "gaussian_blur": {"sigma": (0.01, 0.05)},
        "random_erasing": {"probability": 0.7},
    }
    large = picture.astype(np.uint8)
    # The other size may come from a picture that was decoded at another scale.
    small = large[::2, ::2]
    rng = np.random.default_rng(seed)
    one, other = augment([small, large], [(24, 24), (48, 48)], changes, rng, crop=whole)
    reduced = other.reshape(24, 2, 24, 2, 3).mean(axis=(1, 3))
    off = np.abs(one.astype(int) - reduced).mean(axis=-1)
    # Edges of what is covered or turned in lie between pixels.
    assert np.median(off) < 3
    assert np.mean(off > 12) < 0.12
