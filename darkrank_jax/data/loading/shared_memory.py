"""Memory that several processes see, without a name, gone with the last process that maps it."""

import math
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from darkrank_jax.errors import UserError
from darkrank_jax.files import read_advice

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_LESS = "lower data.options.cache_mib or the number of workers, or set it to 0"
# A picture's entry in a cache: where it lies, from 1, then its shape.
_PLACE, _SHAPE = 0, slice(1, 4)


class SharedMemory:
    """Makes arrays that other processes may see: those that inherit `descriptors`."""

    def __init__(self) -> None:
        if fcntl is None:
            raise UserError(
                "data.num_workers: works on Linux and macOS alone; set it, and a teacher's, to 0"
            )
        self.descriptors: list[int] = []

    def __enter__(self) -> "SharedMemory":
        return self

    def __exit__(self, *_: object) -> None:
        """Arrays stay as long as anything refers to them."""
        for descriptor in self.descriptors:
            os.close(descriptor)

    def array(
        self, shape: tuple[int, ...], dtype: Any, kind: type[np.ndarray] = np.ndarray
    ) -> "SharedArray":
        """A new array of zeros, of a class of arrays; it takes memory where it is written to."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        try:
            self.descriptors.append(_anonymous_file())
            # Nothing of no length can be mapped.
            os.ftruncate(self.descriptors[-1], max(1, size))
            return SharedArray(self.descriptors[-1], shape, dtype, kind)
        except (OSError, OverflowError) as error:
            raise UserError(
                f"data.num_workers: {size:,} bytes cannot be shared with workers ({error}); "
                f"{read_advice(error, _LESS)}"
            ) from error


class SharedArray:
    """An array in shared memory; pickled, it is the array itself in a process that inherits it.

    Attributes:
      array: the array in this process.
    """

    def __init__(self, descriptor: int, shape: tuple[int, ...], dtype: Any, kind: type[np.ndarray]):
        self._sent = (descriptor, shape, np.dtype(dtype).str, kind)
        self.array = _mapped(*self._sent)

    def __reduce__(self) -> tuple[Any, ...]:
        return _mapped, self._sent


class SharedCache:
    """Decoded pictures that several processes keep together, until they fill a number of bytes.

    Made in one process and pickled for the others; see `images.Cache`.
    """

    def __init__(self, memory: SharedMemory, num_pictures: int, most_bytes: int):
        self.most_bytes = most_bytes
        self._pixels: Any = memory.array((most_bytes,), np.uint8)
        self._entries: Any = memory.array((num_pictures, 4), np.int64)
        self._used: Any = memory.array((1,), np.int64)
        self._lock = memory.descriptors[-1]

    def get(self, key: int, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The picture that is kept, or a new one."""
        entry = self._entries[key]
        if entry[_PLACE]:
            shape = tuple(entry[_SHAPE].tolist())
            start = int(entry[_PLACE]) - 1
            return self._pixels[start : start + int(np.prod(shape))].reshape(shape)
        made = make()
        with _locked(self._lock):
            start = int(self._used[0])
            fits = not entry[_PLACE] and start + made.nbytes <= len(self._pixels)
            if fits:
                self._used[0] += made.nbytes
                self._pixels[start : start + made.nbytes] = made.reshape(-1)
                entry[_SHAPE] = made.shape
        if fits:
            # Last, for who sees it may read the rest; the system calls between keep the order.
            entry[_PLACE] = start + 1
        return made


def _mapped(
    descriptor: int, shape: tuple[int, ...], dtype: str, kind: type[np.ndarray]
) -> np.ndarray:
    return kind(shape, dtype, buffer=mmap.mmap(descriptor, 0))


def _anonymous_file() -> int:
    """A file without a name, in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("darkrank_jax")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


@contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    """Among processes, until the end of the block or of this process."""
    assert fcntl is not None
    fcntl.lockf(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.lockf(descriptor, fcntl.LOCK_UN)
