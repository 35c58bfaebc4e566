import ctypes
from pathlib import Path

import pytest

from darkrank_jax.training.memory import give_back

LIBRARY = ctypes.CDLL(None)


def resident():
    """MiB of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


@pytest.mark.skipif(not hasattr(LIBRARY, "malloc_trim"), reason="the C library is not glibc")
def test_freed_memory_goes_back_to_the_system():
    LIBRARY.malloc.restype = ctypes.c_void_p
    blocks = [LIBRARY.malloc(2048) for _ in range(30_000)]
    for block in blocks:
        ctypes.memset(ctypes.c_void_p(block), 1, 2048)
    # The last one is kept, so that the freed ones lie below it.
    for block in blocks[:-1]:
        LIBRARY.free(ctypes.c_void_p(block))
    before = resident()
    give_back()
    assert resident() < before - 40
    LIBRARY.free(ctypes.c_void_p(blocks[-1]))
