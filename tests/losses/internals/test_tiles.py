"""Rows by tiles: nothing is lost, doubled or put elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax.losses.internals import tiles


@pytest.mark.parametrize("count", [1, 8, 9, 21])
@pytest.mark.parametrize("batch", [3, 700, 4000])
def test_rows_are_the_same_after_tiles(count, batch):
    rows = {"a": jnp.arange(count), "b": jnp.arange(2.0 * count).reshape(count, 2)}
    tiles_ = tiles.tiled(rows, batch)
    for name, array in rows.items():
        np.testing.assert_array_equal(tiles.untiled(tiles_[name], count), array)
    # At most 8 rows, or 2**22 floats.
    assert tiles_["a"].shape[1] <= max(8, 2**22 // batch**2)


def test_each_tile_has_rows_of_every_device():
    # Four devices of three rows each, in tiles of eight: two rows of each device in the first.
    first = tiles.tiled(jnp.arange(16), 4000)[0]
    assert sorted(np.asarray(first) // 4) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_mapped_rows_are_those_of_a_loop_with_their_gradient():
    x = jnp.asarray(np.random.default_rng(1).normal(size=(11, 4)), jnp.float32)

    def of_row(row):
        return jnp.tanh(row @ x.T).sum()

    found, pull = jax.vjp(lambda x: tiles.map_rows(of_row, x, 11), x)
    np.testing.assert_allclose(found, [of_row(row) for row in x], rtol=1e-6)
    weights = jnp.linspace(-1, 2, 11)
    slope = jax.grad(lambda rows: sum(w * of_row(r) for w, r in zip(weights, rows, strict=True)))(x)
    np.testing.assert_allclose(pull(weights)[0], slope, rtol=1e-5, atol=1e-6)
