"""A gallery in half or a quarter of the memory against the rows that it restores."""

import jax.numpy as jnp
import numpy as np

from darkrank_jax.evaluation.gallery_rows import to_int8
from darkrank_jax.evaluation.neighbors import nearest_neighbors


def test_search_of_int8_and_bfloat16_equals_search_of_restored_rows():
    many = np.random.default_rng(5).normal(size=(1500, 6)).astype(np.float32)
    coarse = to_int8(many)
    restored = coarse.codes * coarse.scales[:, None]
    assert coarse.codes.nbytes * 4 == many.nbytes
    assert np.all(np.abs(restored - many) <= 0.5001 * coarse.scales[:, None])
    half = many.astype(jnp.bfloat16)
    for gallery, same in ((coarse, restored), (half, half.astype(np.float32))):
        found = nearest_neighbors(many[:40], gallery, k=4)
        expected = nearest_neighbors(many[:40], same, k=4)
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_allclose(found[0], expected[0], atol=1e-6)
        assert not np.array_equal(found[0], nearest_neighbors(many[:40], many, k=4)[0])
