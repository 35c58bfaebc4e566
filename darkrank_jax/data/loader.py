"""Batches in the order of steps, made ahead by threads; the same for any number of them."""

import itertools
from collections import deque
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from darkrank_jax.data.augmentation import augment
from darkrank_jax.data.sampler import class_rows, sample_batch
from darkrank_jax.data.split import Split, check_batch

# Keeps an image's random numbers apart from those of the sampler, which has the same seed.
_AUGMENTATION = 1


def batches(
    split: Split,
    *,
    seed: int,
    first_step: int,
    num_steps: int,
    batch_size: int,
    images_per_class: int,
    augmentation: Mapping[str, Mapping[str, Any]],
    num_threads: int,
) -> Generator[dict[str, np.ndarray]]:
    """Yields the batches of some steps.

    Each batch is a pure function of (seed, step), whatever came before and however many threads
    there are, so training goes on from any step. Threads work ahead of the consumer and end when
    the iterator is closed, exhausted, or meets an error.

    Args:
      split: to draw from.
      seed: of the run.
      first_step: step of the first batch.
      num_steps: batches to yield.
      batch_size: images of a batch.
      images_per_class: of a batch.
      augmentation: name in AUGMENTATIONS -> its keyword arguments, in the order of use.
      num_threads: that make batches.

    Yields:
      {"images": uint8 [batch_size, h, w, c], "labels": int32 [batch_size]}.

    Raises:
      UserError: the split has too few classes.
    """
    check_batch(split, batch_size, images_per_class)
    classes = class_rows(split.labels)

    def make(step: int) -> dict[str, np.ndarray]:
        rows = sample_batch(
            classes, seed=seed, step=step, batch_size=batch_size, images_per_class=images_per_class
        )
        images = split.images[rows]
        if augmentation:
            for place, image in enumerate(images):
                rng = np.random.default_rng((seed, step, place, _AUGMENTATION))
                images[place] = augment(image, augmentation, rng)
        return {"images": images, "labels": split.labels[rows]}

    steps = iter(range(first_step, first_step + num_steps))
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="batches")
    try:
        ahead = deque(pool.submit(make, step) for step in itertools.islice(steps, 2 * num_threads))
        while ahead:
            batch = ahead.popleft().result()
            ahead.extend(pool.submit(make, step) for step in itertools.islice(steps, 1))
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)
