"""The images of a split: an array in memory, or files that are decoded when they are asked for."""

import functools
import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from darkrank_jax.data.loading.shared_memory import SharedArray, SharedCache, SharedMemory
from darkrank_jax.data.pixels.limits import MAX_MEGAPIXELS
from darkrank_jax.data.pixels.pictures import decode
from darkrank_jax.data.pixels.resampling import Box, cut

# (width, height) of a picture to the part of it that counts.
Crop = Callable[[int, int], Box]


class Files(NamedTuple):
    """Encoded images at any place.

    Attributes:
      read: the bytes of a file of a name; called by several threads at once, and sent to other
        processes, so that it is a function of a module or a partial of one.
      name: a file's name within the source by its number, which stays when the source is moved;
        sent likewise.
      where: what the names are relative to.
      fingerprint: changes when the source does.
    """

    read: Callable[[str], bytes]
    name: Callable[[int], str]
    where: str
    fingerprint: str

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
    """Images of a split that lie in files and are decoded when they are asked for.

    Indexed by rows, as an array is, it gives what evaluation sees: the middle of each image.
    Training cuts its own parts from `picture`. It holds no pixels but those in the cache.

    Attributes:
      rows: number in `files` of each image of the split.
      crop: the part of a picture that evaluation sees.
    """

    def __init__(
        self,
        files: Files,
        rows: np.ndarray,
        *,
        size: tuple[int, int],
        grayscale: bool,
        crop: Crop,
        cache: Cache | SharedCache,
        max_megapixels: float = MAX_MEGAPIXELS,
    ):
        self.rows = rows
        self._files, self._size, self._grayscale = files, size, grayscale
        self.crop, self._cache, self._max_megapixels = crop, cache, max_megapixels

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Images, height, width, channels; as of an array."""
        return (len(self.rows), *self._size, 1 if self._grayscale else 3)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """The middle of one image [h, w, c], or of several [rows, h, w, c]; uint8."""
        if isinstance(rows, int | np.integer):
            return self._middle(int(rows))
        chosen = np.arange(len(self))[rows].tolist()
        images = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for place, image in enumerate(_threads().map(self._middle, chosen)):
            images[place] = image
        return images

    def picture(self, row: int) -> np.ndarray:
        """The decoded image, at least as large as `decode` promises; not to be written to."""
        file = int(self.rows[row])

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
        """Some of the images, in the given order; the cache is shared."""
        return self._like(self.rows[rows], self._cache)

    def sent(self, memory: SharedMemory) -> "EncodedImages":
        """The same images for other processes, which keep pictures together."""
        most_bytes = self._cache.most_bytes if isinstance(self._cache, Cache) else 0
        numbers = int(self.rows.max(initial=-1)) + 1
        return self._like(self.rows, SharedCache(memory, numbers, most_bytes))

    def _like(self, rows: np.ndarray, cache: Cache | SharedCache) -> "EncodedImages":
        return EncodedImages(
            self._files,
            rows,
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
        """The name of each image within its source."""
        return [self._files.name(file) for file in self.rows.tolist()]

    def sample(self, most: int = 32) -> list[bytes]:
        """The bytes of some of the files, spread over the split; the same wherever it lies."""
        count = min(most, len(self))
        places = np.linspace(0, len(self) - 1, count).astype(int)
        return [self._files.bytes_of(file) for file in self.rows[places].tolist()]

    def fingerprint(self) -> str:
        """Changes when an image, or what evaluation sees of it, does."""
        seen = (self._files.fingerprint, self.shape, self.crop(1000, 700), self.crop(700, 1000))
        return hashlib.blake2b(repr(seen).encode() + self.rows.tobytes()).hexdigest()[:32]


Images = np.ndarray | EncodedImages


def fingerprint(images: Images) -> str:
    """A word that changes when the images of a split do.

    Example:
      >>> fingerprint(np.zeros((1, 2, 2, 1), np.uint8)) == fingerprint(np.zeros((1, 2, 2, 3)))
      False
    """
    if isinstance(images, EncodedImages):
        return images.fingerprint()
    seen = repr((images.shape, str(images.dtype))).encode()
    return hashlib.blake2b(seen + images.tobytes()).hexdigest()[:32]


def select_images(images: Images, rows: np.ndarray) -> Images:
    """Some images in the given order; an array is copied, files are not read."""
    return images.select(rows) if isinstance(images, EncodedImages) else images[rows]


def picture_of(images: Images, row: int) -> np.ndarray:
    """One image as training cuts it, uint8 [h, w, c]: as decoded, or as the array has it."""
    return images.picture(row) if isinstance(images, EncodedImages) else images[row]


def sent_images(images: Images, memory: SharedMemory) -> Any:
    """Images to be pickled for processes that inherit the memory; an array is copied into it."""
    if isinstance(images, EncodedImages):
        return images.sent(memory)
    shared: SharedArray = memory.array(images.shape, images.dtype)
    shared.array[...] = images
    return shared


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
