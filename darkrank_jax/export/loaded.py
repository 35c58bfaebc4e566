"""A network for those who only use it: images or files in, embeddings out."""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from PIL import Image

from darkrank_jax.data.crops import center_crop, whole
from darkrank_jax.data.pictures import decode, to_array, to_picture
from darkrank_jax.data.resampling import cut
from darkrank_jax.errors import UserError
from darkrank_jax.export.formats import LOADERS
from darkrank_jax.export.source import EmbedBatch, load_source

# A file, or pixels: uint8 [h, w], [h, w, 1] or [h, w, 3], or a Pillow image.
AnyImage = str | os.PathLike | np.ndarray | Image.Image


@dataclasses.dataclass(frozen=True)
class LoadedRun:
    """A network that is ready to embed, wherever it came from.

    Attributes:
      facts: of its use, as plain values: "image_shape", "embedding_dim", "fingerprint", ...
      embed_batch: uint8 images [n, *image_shape] to embeddings [n, dim].
    """

    facts: dict[str, Any]
    embed_batch: EmbedBatch

    def embed(
        self,
        images: AnyImage | Sequence[AnyImage] | Iterable[AnyImage],
        *,
        batch_size: int = 64,
        invert: bool = False,
    ) -> Float[np.ndarray, "n dim"]:
        """Embeds images of any size and kind, batch by batch.

        Each is turned upright, made gray or coloured as the network wants it, cut to the middle
        and resized. One that has the network's size already is taken as it is.

        Args:
          images: one, or several: files, arrays uint8 [h, w], [h, w, 1 or 3] or [n, h, w, 1 or 3],
            or Pillow images. An iterator is read as it is needed.
          batch_size: images at once.
          invert: white becomes black: for ink on paper, where the network knows chalk on slate.

        Returns:
          Float32 [n, dim], in the order of the images; [1, dim] for one.

        Raises:
          UserError: a file is no image, or an array is not of such a form.
        """
        found = [self._embed(each) for each in _batches(self._prepared(images, invert), batch_size)]
        dim = self.facts["embedding_dim"]
        return np.concatenate(found) if found else np.zeros((0, dim), np.float32)

    def prepare(self, image: AnyImage, *, invert: bool = False) -> np.ndarray:
        """One image as the network sees it, uint8 [h, w, c]; see `embed`."""
        height, width, channels = self.facts["image_shape"]
        size = (height, width)
        pixels = _open(image, size, grayscale=channels == 1)
        if pixels.shape[:2] != size:
            rows, columns = pixels.shape[:2]
            share = self.facts["center_crop"]
            box = center_crop(columns, rows, size, share=share) if share else whole(columns, rows)
            pixels = cut(pixels, box, size)
        return 255 - pixels if invert else pixels

    def _prepared(self, images: Any, invert: bool) -> Iterable[np.ndarray]:
        one = isinstance(images, str | os.PathLike | Image.Image)
        if one or (isinstance(images, np.ndarray) and images.ndim < 4):
            images = [images]
        return (self.prepare(image, invert=invert) for image in images)

    def _embed(self, batch: np.ndarray) -> np.ndarray:
        """Filled up to a power of two, so that few sizes are compiled."""
        size = 1 << (len(batch) - 1).bit_length()
        filled = batch[np.arange(size) % len(batch)]
        return np.asarray(self.embed_batch(filled), np.float32)[: len(batch)]


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


def _open(image: AnyImage, size: tuple[int, int], *, grayscale: bool) -> np.ndarray:
    """Pixels [h, w, c] of anything that may be an image, gray or coloured as is asked."""
    if isinstance(image, str | os.PathLike):
        try:
            return decode(Path(image).read_bytes(), str(image), size=size, grayscale=grayscale)
        except OSError as error:
            raise UserError(f"{image}: cannot be read ({error.strerror})") from error
    if isinstance(image, np.ndarray):
        pixels = image[:, :, None] if image.ndim == 2 else image
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
            raise UserError(
                f"images: an array is {image.dtype} of shape {image.shape}; give uint8 [h, w], "
                "[h, w, 1] or [h, w, 3], or several as [n, h, w, c]"
            )
        if pixels.shape[2] == (1 if grayscale else 3):
            return pixels
        image = to_picture(pixels)
    return to_array(image.convert("L" if grayscale else "RGB"))


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
