"""Runs a network over images in batches of one size, and times it."""

import time
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Float, UInt8

EmbedFn = Callable[[np.ndarray], jax.Array]
BATCH = 256
_REPETITIONS = 5


def embed_images(
    embed_fn: EmbedFn, images: UInt8[np.ndarray, "n h w c"]
) -> Float[np.ndarray, "n dim"]:
    """Embeds images batch by batch; the last batch is filled up, so that one shape is compiled.

    Args:
      embed_fn: uint8 images [BATCH, h, w, c] to embeddings [BATCH, dim].
      images: [n, h, w, c].

    Returns:
      Float32 [n, dim], in the order of the images.

    Example:
      >>> images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
      >>> embed_images(lambda batch: batch.reshape(len(batch), 1) / 2, images)[:, 0].tolist()
      [0.0, 0.5, 1.0]
    """
    embeddings = []
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        embeddings.append(np.asarray(embed_fn(_filled(batch)), np.float32)[: len(batch)])
    return np.concatenate(embeddings)


def images_per_second(embed_fn: EmbedFn, images: UInt8[np.ndarray, "n h w c"]) -> float:
    """Throughput of a network at batches of BATCH images: the median of repetitions, once warm.

    Args:
      embed_fn: uint8 images [BATCH, h, w, c] to embeddings.
      images: at least one.

    Returns:
      Images in a second.
    """
    batch = _filled(images[:BATCH])
    jax.block_until_ready(embed_fn(batch))
    seconds = []
    for _ in range(_REPETITIONS):
        start = time.perf_counter()
        jax.block_until_ready(embed_fn(batch))
        seconds.append(time.perf_counter() - start)
    return BATCH / float(np.median(seconds))


def _filled(batch: np.ndarray) -> np.ndarray:
    """A batch of BATCH images, the first one repeated as often as it takes."""
    missing = BATCH - len(batch)
    return np.concatenate([batch, np.repeat(batch[:1], missing, axis=0)]) if missing else batch
