"""Position embeddings of another image size."""

import numpy as np
import pytest

from darkrank_jax.models.weights.positions import find_layout, fit_positions


@pytest.mark.parametrize(
    ("count", "leading", "grid", "known", "layout"),
    [
        (17, 1, (4, 4), None, (1, (4, 4))),
        (17, 1, (6, 3), None, (1, (4, 4))),
        (16, 1, (6, 3), None, (0, (4, 4))),
        (18, 2, (6, 3), None, (2, (4, 4))),
        (16, 0, (6, 3), None, (0, (4, 4))),
        (19, 1, (6, 3), None, (1, (6, 3))),
        (18, 1, (6, 3), None, (0, (6, 3))),
        (19, 1, (4, 4), None, None),
        (19, 1, (4, 4), (9, 2), (1, (9, 2))),
        (17, 1, (8, 2), None, None),
        (17, 1, (8, 2), (8, 2), (1, (8, 2))),
        (17, 1, (8, 2), (4, 4), (1, (4, 4))),
        (17, 1, (4, 4), (5, 3), None),
        (1, 1, (1, 1), None, None),
        (2, 2, (1, 1), None, None),
    ],
)
def test_layout_of_position_embeddings_is_told_or_left_open(count, leading, grid, known, layout):
    assert find_layout(count, leading, grid, known) == layout


@pytest.mark.parametrize("method", ["bicubic", "bicubic_antialias", "bilinear_antialias"])
def test_resizing_keeps_constants_and_turns_with_the_grid(method):
    rng = np.random.default_rng(5)
    positions = rng.normal(size=(1, 2 + 5 * 7, 3)).astype(np.float32)
    layout = find_layout(37, 2, (3, 11), (5, 7))
    found = fit_positions(positions, layout, 2, (3, 11), method)
    turned = positions[:, 2:].reshape(5, 7, 3).transpose(1, 0, 2).reshape(1, 35, 3)
    turned = np.concatenate([positions[:, :2], turned], axis=1)
    other = fit_positions(turned, layout._replace(grid=(7, 5)), 2, (11, 3), method)
    np.testing.assert_allclose(
        found[0, 2:].reshape(3, 11, 3), other[0, 2:].reshape(11, 3, 3).transpose(1, 0, 2), atol=1e-6
    )
    np.testing.assert_array_equal(found[:, :2], positions[:, :2])
    constant = fit_positions(np.ones_like(positions), layout, 2, (3, 11), method)
    np.testing.assert_allclose(constant, 1, rtol=1e-6)
