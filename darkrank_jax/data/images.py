"""The images of a split: an array in memory, or files that are decoded when they are asked for."""
# ruff: noqa: D102 -- what a method of both classes does is said once, by `Images`.

import functools
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from darkrank_jax.data.loading.shared_memory import SharedArray, SharedCache, SharedMemory
from darkrank_jax.data.pixels.crops import Crop, whole
from darkrank_jax.data.pixels.limits import MAX_MEGAPIXELS
from darkrank_jax.data.pixels.pictures import decode
from darkrank_jax.data.pixels.resampling import cut
from darkrank_jax.digests import digest
from darkrank_jax.errors import UserError


@runtime_checkable
class Images(Protocol):
    """The images of a split, uint8; indexed by rows, as an array is: what evaluation sees.

    Attributes:
      shape: images, height, width, channels.
      crop: the part of a picture that evaluation sees.
      in_memory: whether all pixels are held.
    """

    @property
    def shape(self) -> tuple[int, int, int, int]: ...
    @property
    def crop(self) -> Crop: ...
    @property
    def in_memory(self) -> bool: ...
    def __len__(self) -> int: ...
    def __getitem__(self, rows: Any, /) -> np.ndarray: ...

    def read_into(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Writes `self[rows]` to `out`, in this thread."""
        ...

    def picture(self, row: int) -> np.ndarray:
        """One image as augmentation takes it, [h, w, c] of any size; not to be written to."""
        ...

    def select(self, rows: np.ndarray) -> "Images":
        """Some of the images, in the given order; no file is read."""
        ...

    def shared(self, memory: SharedMemory) -> Any:
        """What is pickled for processes that inherit the memory, and is the images there."""
        ...

    def names(self) -> list[str]:
        """The name of each image within its source; empty where it has no files."""
        ...

    def sample(self) -> tuple[str, list[bytes]]:
        """The size of the pixels, or "files", and bytes by which equal images are known."""
        ...

    def digest(self) -> str:
        """A digest of the images as evaluation sees them."""
        ...


class ArrayImages(np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]]):
    """`Images` that are an array in memory, uint8 [n, h, w, c]; see `as_images`."""

    in_memory = True

    @property
    def crop(self) -> Crop:
        return whole

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        return self.view(np.ndarray)[rows]

    def read_into(self, rows: np.ndarray, out: np.ndarray) -> None:
        # Any mode but the default, which would fill a copy.
        np.take(self, rows, axis=0, out=out, mode="clip")

    def picture(self, row: int) -> np.ndarray:
        return self[row]

    def select(self, rows: np.ndarray) -> "ArrayImages":
        return as_images(self[rows])

    def shared(self, memory: SharedMemory) -> SharedArray:
        shared = memory.array(self.shape, self.dtype, ArrayImages)
        shared.array[...] = self
        return shared

    def names(self) -> list[str]:
        return []

    def sample(self) -> tuple[str, list[bytes]]:
        return "x".join(map(str, self.shape[1:])), [self.tobytes()]

    def digest(self) -> str:
        seen = repr((self.shape, str(self.dtype))).encode()
        return digest([seen, self.tobytes()], "blake2b")


def as_images(array: np.ndarray) -> ArrayImages:
    """An array as the images of a split; not copied.

    Raises:
      UserError: it is not uint8 [n, h, w, c].

    Example:
      >>> as_images(np.zeros((2, 8, 8, 1), np.uint8)).picture(1).shape
      (8, 8, 1)
    """
    if array.dtype != np.uint8 or array.ndim != 4:
        raise UserError(
            f"images of a split: must be uint8 [n, h, w, c], 0 to 255 (got {array.dtype} "
            f"{list(array.shape)}); convert them"
        )
    return array.view(ArrayImages)


# Files of which `sample` gives the bytes.
_SAMPLE = 32


@runtime_checkable
class EncodedFiles(Protocol):
    """Encoded images by number: `Files`, or those of shards; sent to other processes.

    Attributes:
      digest: changes when the source does.
    """

    @property
    def digest(self) -> str: ...

    def bytes_of(self, number: int) -> bytes:
        """What a file of a number holds; called by several threads at once."""
        ...

    def path(self, number: int) -> str:
        """What a person finds a file by."""
        ...

    def name(self, number: int, /) -> str:
        """A file's name within the source, which stays when the source is moved."""
        ...


class Files(NamedTuple):
    """Encoded images that are found by their names.

    Attributes:
      read: the bytes of a file of a name; called by several threads at once, and sent to other
        processes, so that it is a function of a module or a partial of one.
      name: a file's name within the source by its number, which stays when the source is moved;
        sent likewise.
      where: what the names are relative to.
      digest: changes when the source does.
    """

    read: Callable[[str], bytes]
    name: Callable[[int], str]
    where: str
    digest: str

    def bytes_of(self, number: int) -> bytes:
        """What a file of a number holds."""
        return self.read(self.name(number))

    def path(self, number: int) -> str:
        """What a person finds a file by."""
        return os.path.join(self.where, self.name(number))


class Cache:
    """Decoded pictures, kept until they fill a number of bytes; later ones are not.

    Attributes:
      most_bytes: that they may fill.
    """

    def __init__(self, most_bytes: int):
        self.most_bytes = self._free = most_bytes
        self._pictures: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def get(self, key: int, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The picture that is kept, or a new one."""
        found = self._pictures.get(key)
        if found is not None:
            return found
        made = make()
        with self._lock:
            if key not in self._pictures and made.nbytes <= self._free:
                self._free -= made.nbytes
                self._pictures[key] = made
        return made


class EncodedImages:
    """`Images` in files, decoded when they are asked for; only the cache holds pixels.

    Attributes:
      numbers: int [n], number in `files` of each image.
      crop: the part of a picture that evaluation sees.
    """

    in_memory = False

    def __init__(
        self,
        files: EncodedFiles,
        numbers: np.ndarray,
        *,
        size: tuple[int, int],
        grayscale: bool,
        crop: Crop,
        cache: Cache | SharedCache,
        max_megapixels: float = MAX_MEGAPIXELS,
    ):
        self.numbers = numbers
        self._files, self._size, self._grayscale = files, size, grayscale
        self.crop, self._cache, self._max_megapixels = crop, cache, max_megapixels

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self.numbers), *self._size, 1 if self._grayscale else 3)

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        if isinstance(rows, int | np.integer):
            return self._middle(int(rows))
        chosen = np.arange(len(self))[rows].tolist()
        images = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for place, image in enumerate(_threads().map(self._middle, chosen)):
            images[place] = image
        return images

    def read_into(self, rows: np.ndarray, out: np.ndarray) -> None:
        for image, row in zip(out, rows.tolist(), strict=True):
            image[:] = self._middle(row)

    def picture(self, row: int) -> np.ndarray:
        file = int(self.numbers[row])

        def make() -> np.ndarray:
            data, path = self._files.bytes_of(file), self._files.path(file)
            return decode(
                data,
                path,
                size=self._size,
                grayscale=self._grayscale,
                max_megapixels=self._max_megapixels,
            )

        return self._cache.get(file, make)

    def select(self, rows: np.ndarray) -> "EncodedImages":
        return self._like(self.numbers[rows], self._cache)

    def shared(self, memory: SharedMemory) -> "EncodedImages":
        count = int(self.numbers.max(initial=-1)) + 1
        return self._like(self.numbers, SharedCache(memory, count, self._cache.most_bytes))

    def _like(self, numbers: np.ndarray, cache: Cache | SharedCache) -> "EncodedImages":
        return EncodedImages(
            self._files,
            numbers,
            size=self._size,
            grayscale=self._grayscale,
            crop=self.crop,
            cache=cache,
            max_megapixels=self._max_megapixels,
        )

    def _middle(self, row: int) -> np.ndarray:
        picture = self.picture(row)
        height, width = picture.shape[:2]
        return cut(picture, self.crop(width, height), self._size)

    def names(self) -> list[str]:
        return [self._files.name(file) for file in self.numbers.tolist()]

    def sample(self) -> tuple[str, list[bytes]]:
        # At no size and spread over the split, so that it is the same whatever decodes them.
        places = np.linspace(0, len(self) - 1, min(_SAMPLE, len(self))).astype(int)
        return "files", [self._files.bytes_of(file) for file in self.numbers[places].tolist()]

    def digest(self) -> str:
        seen = (self._files.digest, self.shape, self.crop(1000, 700), self.crop(700, 1000))
        return digest([repr(seen).encode(), self.numbers.tobytes()], "blake2b")


def pack_names(names: Iterable[str]) -> Callable[[int], str]:
    """Holds names in as many bytes as they have, for lists of millions.

    Args:
      names: of any characters, also such as no encoding has.

    Returns:
      The name of a number.

    Example:
      >>> pack_names(["a/1.jpg", "é.png"])(1)
      'é.png'
    """
    blob, ends = bytearray(), [np.zeros(1, np.int64)]
    block: list[int] = []
    for each in names:
        blob += each.encode("utf-8", "surrogateescape")
        block.append(len(blob))
        if len(block) == 1 << 16:
            ends.append(np.array(block, np.int64))
            block.clear()
    bounds = np.concatenate([*ends, np.array(block, np.int64)])
    return functools.partial(_name, blob, bounds)


def _name(blob: bytearray, bounds: np.ndarray, index: int) -> str:
    """Of those that are packed."""
    return blob[bounds[index] : bounds[index + 1]].decode("utf-8", "surrogateescape")


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Threads that decode for evaluation; made once, since it asks for many small batches."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")
