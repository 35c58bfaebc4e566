"""Batches in the order of steps, made ahead by threads; the same for any number of them."""

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from darkrank_jax.data.augmentation import augment
from darkrank_jax.data.crops import whole
from darkrank_jax.data.images import EncodedImages, Images, picture_of
from darkrank_jax.data.sampler import SAMPLERS, check_batch, class_rows, of_process
from darkrank_jax.data.split import Split

# Keep an image's random numbers apart from those of the sampler, which has the same seed, and
# those of a step apart from those of a view.
_AUGMENTATION, _VIEW = 1, 2

T = TypeVar("T")


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
    views: int = 0,
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
      views: draws of augmentation that an image has, see `view_of`; 0: a new one each time.
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
        if views:
            view = view_of(step, batch_size, len(split.labels), views)
            keys = [(seed, view, row, _VIEW) for row in rows.tolist()]
        else:
            keys = [(seed, step, place, _AUGMENTATION) for place in places.tolist()]
        images = _drawn(split.images, rows, augmentation, keys)
        return {"images": images, "labels": split.labels[rows], "rows": rows}

    yield from _ahead(make, range(first_step, first_step + num_steps), num_threads)


def every_view(
    split: Split,
    *,
    seed: int,
    views: int,
    batch_size: int,
    augmentation: Mapping[str, Mapping[str, Any]],
    num_threads: int,
) -> Generator[tuple[int, np.ndarray, np.ndarray]]:
    """Yields all draws of augmentation that the images of a split have in `batches`.

    Args:
      split: of training.
      seed: of the run.
      views: draws of an image, at least 1.
      batch_size: images to yield at once.
      augmentation: as for `batches`.
      num_threads: likewise.

    Yields:
      (view, rows, images): rows int [batch_size], in order; the last of a view are filled up with
      its first ones.
    """
    total = len(split.labels)
    each = -(-total // batch_size)

    def make(step: int) -> tuple[int, np.ndarray, np.ndarray]:
        view, start = step // each, step % each * batch_size
        rows = np.arange(start, start + batch_size) % total
        keys = [(seed, view, row, _VIEW) for row in rows.tolist()]
        return view, rows, _drawn(split.images, rows, augmentation, keys)

    yield from _ahead(make, range(views * each), num_threads)


def view_of(step: int, batch_size: int, num_images: int, views: int) -> int:
    """Which draw of augmentation a batch has where they are few: one an epoch, in rotation.

    Args:
      step: from 0.
      batch_size: images of a batch.
      num_images: of the training split.
      views: draws of each image.

    Returns:
      0 to views - 1.

    Example:
      >>> [view_of(step, 5, 10, 3) for step in range(8)]
      [0, 0, 1, 1, 2, 2, 0, 0]
    """
    return step * batch_size // num_images % views


def _ahead(make: Callable[[int], T], steps: Iterable[int], num_threads: int) -> Generator[T]:
    """What threads make of each step, in order; they end when the iterator is closed."""
    steps = iter(steps)
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="batches")
    try:
        ahead = deque(pool.submit(make, step) for step in itertools.islice(steps, 2 * num_threads))
        while ahead:
            batch = ahead.popleft().result()
            ahead.extend(pool.submit(make, step) for step in itertools.islice(steps, 1))
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)


def _drawn(
    images: Images,
    rows: np.ndarray,
    augmentation: Mapping[str, Mapping[str, Any]],
    keys: Sequence[tuple[int, ...]],
) -> np.ndarray:
    """Some images as training sees them, uint8 [n, h, w, c], each by a random key of its own."""
    if not augmentation and not isinstance(images, EncodedImages):
        return images[rows]
    drawn = np.empty((len(rows), *images.shape[1:]), np.uint8)
    for image, row, key in zip(drawn, rows.tolist(), keys, strict=True):
        image[:] = _augmented(images, row, augmentation, np.random.default_rng(key))
    return drawn


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
