"""Batches in the order of steps, made ahead by threads; the same for any number of them."""

import itertools
from collections import deque
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from darkrank_jax.data.augmentation import augment
from darkrank_jax.data.crops import whole
from darkrank_jax.data.images import EncodedImages, Images, picture_of
from darkrank_jax.data.sampler import SAMPLERS, check_batch, class_rows, of_process
from darkrank_jax.data.split import Split

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
    sampler: Mapping[str, Any] | None = None,
    process_index: int = 0,
    num_processes: int = 1,
) -> Generator[dict[str, np.ndarray]]:
    """Yields the batches of some steps.

    Each batch is a pure function of (seed, step), whatever came before and however many threads
    there are, so training goes on from any step. Of several processes each yields its part of the
    same batch. Threads work ahead of the consumer and end when the iterator is closed, exhausted,
    or meets an error.

    Args:
      split: to draw from.
      seed: of the run.
      first_step: step of the first batch.
      num_steps: batches to yield.
      batch_size: images of a batch, over all processes.
      images_per_class: of a batch.
      augmentation: name in CROPS or AUGMENTATIONS -> its keyword arguments.
      num_threads: that make batches.
      sampler: a "name" in SAMPLERS and its keyword arguments; None is P x K.
      process_index: which part of the batch is wanted.
      num_processes: parts of a batch.

    Yields:
      {"images": uint8 [batch_size / num_processes, h, w, c], "labels": int32 and "rows" int64 of as
      many}, the rows being those of the split.

    Raises:
      UserError: the split has too few classes, or an image cannot be decoded.
    """
    options = dict(sampler or {"name": "p_x_k"})
    check_batch(len(split.class_names), batch_size, images_per_class, options)
    sample, classes = SAMPLERS[options.pop("name")], class_rows(split.labels)
    sizes = {"batch_size": batch_size, "images_per_class": images_per_class}

    def make(step: int) -> dict[str, np.ndarray]:
        rows = sample(classes, seed=seed, step=step, **sizes, **options)
        places = of_process(np.arange(batch_size), process_index, num_processes)
        rows = rows[places]
        if not augmentation and not isinstance(split.images, EncodedImages):
            return {"images": split.images[rows], "labels": split.labels[rows], "rows": rows}
        images = np.empty((len(rows), *split.images.shape[1:]), np.uint8)
        for image, row, place in zip(images, rows.tolist(), places.tolist(), strict=True):
            rng = np.random.default_rng((seed, step, place, _AUGMENTATION))
            image[:] = _augmented(split.images, row, augmentation, rng)
        return {"images": images, "labels": split.labels[rows], "rows": rows}

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


def _augmented(
    images: Images,
    row: int,
    augmentation: Mapping[str, Mapping[str, Any]],
    rng: np.random.Generator,
) -> np.ndarray:
    """One image as training sees it, uint8 [h, w, c]."""
    crop = images.crop if isinstance(images, EncodedImages) else whole
    size = images.shape[1:3]
    return augment(picture_of(images, row), size, augmentation, rng, crop=crop)
