"""Windows that move over a padded map, against loops."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax.models.windows import window_counts, windows


@pytest.mark.parametrize("sides", [(1, 1), (3, 2)])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
@pytest.mark.parametrize("padding", [((0, 0), (0, 0)), ((1, 2), (0, 3))])
def test_each_place_of_a_window_is_a_slice_of_the_padded_map(sides, strides, padding):
    x = np.random.default_rng(0).normal(size=(2, 7, 5, 3)).astype(np.float32)
    padded = np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=-9)
    views = np.lib.stride_tricks.sliding_window_view(padded, sides, axis=(1, 2))
    views = views[:, :: strides[0], :: strides[1]]
    assert window_counts(jnp.asarray(x), sides, strides, padding) == list(views.shape[1:3])
    found = windows(jnp.asarray(x), sides, strides, padding, -9)
    places = itertools.product(*map(range, sides))
    for (row, column), each in zip(places, found, strict=True):
        np.testing.assert_array_equal(each, views[..., row, column])
