"""A cache and arrays that several processes share."""

import pickle
from functools import partial

import numpy as np

from darkrank_jax.data.loading.shared_memory import SharedCache, SharedMemory


def test_a_shared_cache_keeps_what_fits_and_no_more():
    made = []

    def make(value, size):
        made.append(value)
        return np.full(size, value, np.uint8)

    with SharedMemory() as memory:
        # What another process would have of it.
        sent = pickle.loads(pickle.dumps(SharedCache(memory, 5, 100)))
        for _ in range(2):
            for key, size in ((4, (5, 6, 1)), (0, (5, 13, 1)), (2, (2, 3, 1)), (1, (4, 1, 1))):
                found = sent.get(key, partial(make, 10 + key, size))
                np.testing.assert_array_equal(found, np.full(size, 10 + key))
    assert made == [14, 10, 12, 11, 12]
