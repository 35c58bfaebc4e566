"""Runs a network over images in batches of one size, and times it."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
from jaxtyping import Float

from darkrank_jax.data import Images

EmbedFn = Callable[[np.ndarray], jax.Array]
BATCH = 256
_REPETITIONS = 5


def embed_images(embed_fn: EmbedFn, images: Images | np.ndarray) -> Float[np.ndarray, "n dim"]:
    """Embeds images batch by batch; the last batch is filled up, so that one shape is compiled.

    The next batch is decoded while the network embeds the one before.

    Args:
      embed_fn: uint8 images [BATCH, h, w, c] to embeddings [BATCH, dim].
      images: of a split, [n, h, w, c].

    Returns:
      Float32 [n, dim], in the order of the images.

    Example:
      >>> images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
      >>> embed_images(lambda batch: batch.reshape(len(batch), 1) / 2, images)[:, 0].tolist()
      [0.0, 0.5, 1.0]
    """
    starts = range(0, len(images), BATCH)
    embeddings = []
    with ThreadPoolExecutor(1) as ahead:
        following = ahead.submit(lambda: images[:BATCH])
        for start in starts:
            batch = following.result()
            following = ahead.submit(images.__getitem__, slice(start + BATCH, start + 2 * BATCH))
            embeddings.append(np.asarray(embed_fn(_filled(batch)), np.float32)[: len(batch)])
    return np.concatenate(embeddings)


def images_per_second(embed_fn: EmbedFn, images: Images | np.ndarray) -> float:
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
