"""A network for those who only use it: images or files in, embeddings out."""

import dataclasses
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from PIL import Image

from darkrank_jax.data.loading.in_order import in_order
from darkrank_jax.data.pixels.crops import center_crop, whole
from darkrank_jax.data.pixels.pictures import decode, to_picture
from darkrank_jax.data.pixels.resampling import cut
from darkrank_jax.errors import UserError
from darkrank_jax.export.formats import LOADERS
from darkrank_jax.export.source import EmbedBatch, load_source
from darkrank_jax.terminal import printable

# The path or the bytes of a file, what Pillow opened, or pixels: uint8 [h, w] or [h, w, 1 or 3].
AnyImage = str | os.PathLike | bytes | Image.Image | np.ndarray | jax.Array
_FILES = (str, os.PathLike, bytes, Image.Image)
_TAKEN = (
    "the path or the bytes of an image file, a Pillow image, or an array uint8 [h, w] or "
    "[h, w, 1 or 3]; several as an iterable or as [n, h, w, 1 or 3]"
)


class NotAnImage(UserError, TypeError):
    """Something was given as an image that is not one."""


@dataclasses.dataclass(frozen=True)
class LoadedRun:
    """A network that is ready to embed, wherever it came from.

    Attributes:
      facts: of its use, as plain values: "image_shape", "embedding_dim", "fingerprint", ...
      embed_batch: uint8 images [n, *image_shape] to embeddings [n, dim].
    """

    facts: dict[str, Any]
    embed_batch: EmbedBatch

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.facts["image_shape"]))
        name = printable(str(self.facts["name"]))
        return f"LoadedRun({name!r}, images {shape}, {self.facts['embedding_dim']} numbers)"

    def embed(
        self,
        # Anything, so that a type checker at run time leaves the refusal to `embed`.
        images: Any,
        *,
        batch_size: int = 64,
        invert: bool = False,
    ) -> Float[np.ndarray, "n dim"]:
        """Embeds images of any size and kind, batch by batch.

        Each is turned upright, made gray or coloured as the network wants it, cut to the middle
        and resized. One that has the network's size already is taken as it is.

        Args:
          images: one, or several: paths, bytes of files, Pillow images, arrays (NumPy's, JAX's or
            what NumPy can convert) uint8 [h, w], [h, w, 1 or 3] or [n, h, w, 1 or 3]. Of an
            iterator's items, files are decoded by threads, up to a batch ahead; all others at once,
            when they are read. Arrays of floats are refused, as 1 may be white or nearly black.
          batch_size: images at once.
          invert: inverts the pixels: for images that are dark on light where the training images
            were light on dark.

        Returns:
          Float32 [n, dim], in the order of the images; [1, dim] for one.

        Raises:
          UserError: a file is missing or not an image.
          NotAnImage: something else was given, a `UserError` and a `TypeError`; names its place.
        """
        # Threads prepare the next batch while the network embeds one.
        with closing(self._prepared(images, invert, batch_size)) as prepared:
            found = [self._embed(each) for each in _batches(prepared, batch_size)]
        dim = self.facts["embedding_dim"]
        return np.concatenate(found) if found else np.zeros((0, dim), np.float32)

    def prepare(self, image: AnyImage, *, invert: bool = False) -> np.ndarray:
        """One image as the network sees it, uint8 [h, w, c]; see `embed`."""
        return self._prepare(image, "image", invert)

    def _prepare(self, image: Any, name: str, invert: bool) -> np.ndarray:
        height, width, channels = self.facts["image_shape"]
        size = (height, width)
        pixels = _open(image, name, size, grayscale=channels == 1)
        if pixels.shape[:2] != size:
            rows, columns = pixels.shape[:2]
            share = self.facts["center_crop"]
            box = center_crop(columns, rows, size, share=share) if share else whole(columns, rows)
            pixels = cut(pixels, box, size)
        return 255 - pixels if invert else pixels

    def _prepared(self, images: Any, invert: bool, ahead: int) -> Generator[np.ndarray]:
        if not isinstance(images, _FILES):
            images = _as_array(images)
        if isinstance(images, _FILES) or (isinstance(images, np.ndarray) and images.ndim < 4):
            yield self._prepare(images, "images", invert)
            return
        if isinstance(images, Mapping) or not isinstance(images, Iterable):
            raise _refused("images", type(images).__name__)

        def prepare(numbered: tuple[int, Any]) -> np.ndarray:
            place, image = numbered
            return self._prepare(image, f"images[{place}]", invert)

        def read() -> Iterator[Callable[[], np.ndarray]]:
            for place, image in enumerate(images):
                if isinstance(image, str | os.PathLike | bytes):
                    yield partial(prepare, (place, image))
                else:
                    # A picture that Pillow has open is closed, or a buffer filled again, when the
                    # next one is read.
                    made = prepare((place, image)).copy()
                    yield partial(np.asarray, made)

        if isinstance(images, np.ndarray):
            # Nothing to decode, and a thread's call takes longer than a small image.
            yield from map(prepare, enumerate(images))
        else:
            yield from in_order(lambda made: made(), read(), os.cpu_count() or 1, ahead)

    def _embed(self, batch: np.ndarray) -> np.ndarray:
        """Filled up to a power of two, so that few sizes are compiled."""
        size = 1 << (len(batch) - 1).bit_length()
        filled = batch[np.arange(size) % len(batch)]
        found = np.asarray(self.embed_batch(filled), np.float32)
        if found.shape != (size, self.facts["embedding_dim"]):
            raise UserError(
                f"{self.facts['name']}: the network gives {list(found.shape)} for {size} images of "
                f"embedding_dim {self.facts['embedding_dim']}; export it again"
            )
        return found[: len(batch)]


def load_run(path: str | os.PathLike) -> LoadedRun:
    """Opens a trained network for use.

    Args:
      path: the workdir of a run (or the `teacher` or `baseline` in it), or a file that
        `--mode export` wrote: .stablehlo, .onnx (needs onnxruntime) or .safetensors.

    Returns:
      An object whose `embed` takes images or paths.

    Raises:
      UserError: there is no trained network.
    """
    path = Path(path)
    if path.suffix in LOADERS and not path.is_dir():
        return LoadedRun(*LOADERS[path.suffix](path))
    if not path.is_dir():
        raise UserError(
            f"{path}: is no workdir of a run, and no export ({', '.join(sorted(LOADERS))})"
        )
    source = load_source(path)
    variables = jax.device_put(source.network.variables)
    step = source.network.embed_step()
    call = jax.jit(lambda variables, images: step(variables, images)["embeddings"])
    return LoadedRun(source.facts, lambda images: np.asarray(call(variables, images)))


def _as_array(value: Any) -> Any:
    """What another library's array holds, and anything else as it is."""
    return np.asarray(value) if hasattr(value, "__array__") else value


def _open(image: Any, name: str, size: tuple[int, int], *, grayscale: bool) -> np.ndarray:
    """Pixels [h, w, c] of anything that may be an image, gray or coloured as is asked."""
    if isinstance(image, str | os.PathLike) and Path(image).is_dir():
        raise UserError(
            f"{printable(os.fspath(image))}: is a folder; give its files, or --mode embed for a "
            "gallery of all"
        )
    if isinstance(image, _FILES):
        said = name if isinstance(image, bytes) else ""
        return decode(image, said, size=size, grayscale=grayscale)
    array = _as_array(image)
    if not isinstance(array, np.ndarray):
        raise _refused(name, "None" if array is None else type(array).__name__)
    pixels = array[:, :, None] if array.ndim == 2 else array
    if pixels.dtype != np.uint8 or pixels.shape[2:] not in ((1,), (3,)) or not pixels.size:
        raise _refused(name, f"{array.dtype} {list(array.shape)}")
    if pixels.shape == (*size, 1 if grayscale else 3):
        return pixels
    # As a file, which is reduced before it is cut.
    return decode(to_picture(pixels), name, size=size, grayscale=grayscale)


def _refused(name: str, got: str) -> NotAnImage:
    """The error of what is not an image."""
    return NotAnImage(f"{name}: must be {_TAKEN} (got {got})")


def _batches(images: Iterable[np.ndarray], size: int) -> Iterable[np.ndarray]:
    """Stacks images, as many as there are up to a size."""
    batch: list[np.ndarray] = []
    for image in images:
        batch.append(image)
        if len(batch) == size:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)
