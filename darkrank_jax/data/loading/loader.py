"""Batches in the order of steps, made ahead by threads or processes; the same for any number."""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Any, TypeVar

import numpy as np

from darkrank_jax.data.images import Images
from darkrank_jax.data.loading.in_order import in_order
from darkrank_jax.data.loading.sampler import (
    SAMPLERS,
    check_batch,
    class_rows,
    draw,
    of_process,
)
from darkrank_jax.data.loading.shared_memory import SharedMemory
from darkrank_jax.data.loading.workers import made_by_workers
from darkrank_jax.data.pixels.augmentation import AUGMENTATIONS, augment
from darkrank_jax.data.pixels.crops import CROPS
from darkrank_jax.data.split import Split
from darkrank_jax.errors import UserError

Augmentation = Mapping[str, Mapping[str, Any]]

# Keep an image's random numbers apart from those of the sampler, which has the same seed, those of
# a step apart from those of a view, and from those that draw images without labels.
_AUGMENTATION, _VIEW, _UNLABELLED = 1, 2, 3

T = TypeVar("T")


def batches(
    split: Split,
    *,
    seed: int,
    first_step: int,
    num_steps: int,
    batch_size: int,
    images_per_class: int,
    augmentation: Augmentation,
    num_threads: int,
    num_workers: int = 0,
    sampler: Mapping[str, Any] | None = None,
    num_unlabelled: int = 0,
    views: int = 0,
    process_index: int = 0,
    num_processes: int = 1,
    teacher_images: Images | None = None,
    stopping: Callable[[], int] = lambda: 0,
) -> Generator[dict[str, np.ndarray]]:
    """Yields the batches of some steps.

    Each batch is a pure function of (seed, step), whatever came before and however many threads or
    workers there are, so training goes on from any step. Of several processes that train together
    each yields its part of the same batch. Threads and workers are ahead of the consumer and end
    when the iterator is closed, exhausted, or meets an error.

    Args:
      split: to draw from.
      seed: of the run.
      first_step: step of the first batch.
      num_steps: batches to yield.
      batch_size: images of a batch, over all processes.
      images_per_class: of a batch.
      augmentation: name in CROPS or AUGMENTATIONS -> its keyword arguments.
      num_threads: that make batches where there are no workers.
      num_workers: processes that make batches instead; 0: threads of this one. Threads share one
        lock of Python's, so that few are as fast as many where pictures are decoded already.
      sampler: a "name" in SAMPLERS and its keyword arguments; None is P x K.
      num_unlabelled: images of a batch, its last ones, that are drawn from those without a class;
        where no image of the split has one, the sampler draws all of them.
      views: augmented views of an image, the same for every seed, see `view_of`; 0: a
        new one each time.
      process_index: which part of the batch is wanted.
      num_processes: parts of a batch.
      teacher_images: those of the split, as a teacher of another size sees them; None: it sees the
        same.
      stopping: whether to end early where a worker does not answer, such as one that was stopped.

    Yields:
      {"images": uint8 [batch_size / num_processes, h, w, c], "labels": int32 and "rows" int64 of as
      many}, the rows being those of the split; and "teacher_images", cut and changed alike, where
      there are some.

    Raises:
      UserError: the split has too few classes, an image cannot be decoded, or a worker was ended.
    """
    options = dict(sampler or {"name": "p_x_k"})
    num_labelled = batch_size - num_unlabelled
    check_batch(len(split.class_names), num_labelled, images_per_class, options)
    labels = (
        split.labels[: split.num_labelled] if split.class_names else np.zeros_like(split.labels)
    )
    sample = partial(
        SAMPLERS[options.pop("name")],
        class_rows(labels),
        seed=seed,
        batch_size=num_labelled,
        images_per_class=images_per_class,
        **options,
    )
    if num_unlabelled:
        sample = partial(
            _with_unlabelled,
            sample=sample,
            rows=range(len(labels), len(split.labels)),
            wanted=num_unlabelled,
            seed=seed,
        )
    places = of_process(np.arange(batch_size), process_index, num_processes)
    fill = partial(
        _fill_batch,
        augmentation=augmentation,
        sample=sample,
        places=places,
        seed=seed,
        view_of=partial(view_of, batch_size=batch_size, num_images=len(split.labels), views=views)
        if views
        else None,
    )
    steps = range(first_step, first_step + num_steps)
    seen = {"images": split.images}
    if teacher_images is not None:
        seen["teacher_images"] = teacher_images
    sets = tuple(seen.values())
    for rows, images in _ahead(fill, sets, len(places), steps, num_threads, num_workers, stopping):
        named = dict(zip(seen, images, strict=True))
        yield named | {"labels": split.labels[rows], "rows": rows}


def every_view(
    split: Split,
    *,
    views: int,
    batch_size: int,
    augmentation: Augmentation,
    num_threads: int,
    num_workers: int = 0,
    first: int = 0,
    count: int | None = None,
) -> Generator[tuple[int, np.ndarray, np.ndarray]]:
    """Yields all augmented views of a split's images, as `batches` has them.

    Args:
      split: of training.
      views: of each image, at least 1.
      batch_size: images to yield at once.
      augmentation: as for `batches`.
      num_threads: likewise.
      num_workers: likewise.
      first: batch to begin with.
      count: batches to yield; None: all that follow.

    Yields:
      (view, rows, images): rows int [batch_size], in order; the last of a view are filled up with
      its first ones.
    """
    each = -(-len(split.labels) // batch_size)
    fill = partial(_fill_view, augmentation=augmentation, each=each)
    end = views * each if count is None else first + count
    steps = range(first, end)
    sets = (split.images,)
    for (view, rows), (images,) in _ahead(fill, sets, batch_size, steps, num_threads, num_workers):
        yield view, rows, images


def view_of(step: int, batch_size: int, num_images: int, views: int) -> int:
    """Index of the augmented view that a batch has: one view an epoch, in rotation.

    Args:
      step: from 0.
      batch_size: images of a batch.
      num_images: of the training split.
      views: of each image.

    Returns:
      0 to views - 1.

    Example:
      >>> [view_of(step, 5, 10, 3) for step in range(8)]
      [0, 0, 1, 1, 2, 2, 0, 0]
    """
    return step * batch_size // num_images % views


def _ahead(
    fill: partial[T],
    sets: tuple[Images, ...],
    number: int,
    steps: Sequence[int],
    num_threads: int,
    num_workers: int,
    stopping: Callable[[], int] = lambda: 0,
) -> Generator[tuple[T, list[np.ndarray]]]:
    """What `fill` returns for each step, and the images of each set, made ahead, in order."""
    shapes = [(number, *images.shape[1:]) for images in sets]
    # One piece of memory for all, which is what workers fill.
    total = (sum(map(math.prod, shapes)),)
    with ExitStack() as stack:
        if num_workers:
            memory = stack.enter_context(SharedMemory())
            shared = tuple(images.shared(memory) for images in sets)
            changes = {name: _tables()[name] for name in fill.keywords["augmentation"]}
            sent = partial(_fill_as_parent, partial(fill, sets=shared, number=number), changes)
            made = made_by_workers(sent, total, steps, num_workers, memory, stopping)
        else:
            made = _made_by_threads(
                partial(fill, sets=sets, number=number), total, steps, num_threads
            )
        with closing(made):
            for found, filled in made:
                yield found, _parts(filled, sets, number)


def _parts(filled: np.ndarray, sets: Sequence[Images], number: int) -> list[np.ndarray]:
    """The images of each set, [number, h, w, c], within the memory that holds all."""
    parts, start = [], 0
    for images in sets:
        shape = (number, *images.shape[1:])
        parts.append(filled[start : start + math.prod(shape)].reshape(shape))
        start += math.prod(shape)
    return parts


def _made_by_threads(
    make: Callable[[int, np.ndarray], T],
    shape: tuple[int, ...],
    steps: Sequence[int],
    num_threads: int,
) -> Generator[tuple[T, np.ndarray]]:
    """As `made_by_workers`; threads end when the iterator is closed."""

    def made(step: int) -> tuple[T, np.ndarray]:
        filled = np.empty(shape, np.uint8)
        return make(step, filled), filled

    return in_order(made, steps, num_threads, 2 * num_threads)


def _fill_as_parent(
    fill: Callable[[int, np.ndarray], T],
    changes: Mapping[str, Callable],
    step: int,
    filled: np.ndarray,
) -> T:
    """What `fill` returns in a worker, whose tables of changes must be those of its parent."""
    for name, change in changes.items():
        if _tables().get(name) is not change:
            raise UserError(
                f"data.augmentation: workers have not the program's own {name!r}; put it into the "
                "package's table, or set data.num_workers to 0"
            )
    return fill(step, filled)


def _tables() -> dict[str, Callable]:
    """Everything that an augmentation can name."""
    return {**CROPS, **AUGMENTATIONS}


def _fill_batch(
    step: int,
    filled: np.ndarray,
    *,
    sets: Sequence[Images],
    number: int,
    augmentation: Augmentation,
    sample: Callable[..., np.ndarray],
    places: np.ndarray,
    seed: int,
    view_of: Callable[[int], int] | None,
) -> np.ndarray:
    """Fills the images of a step, or those of some places of it; their rows."""
    rows = sample(step=step)[places]
    if view_of:
        keys = _keys_of_view(view_of(step), rows)
    else:
        keys = [(seed, step, place, _AUGMENTATION) for place in places.tolist()]
    _draw(sets, rows, augmentation, keys, _parts(filled, sets, number))
    return rows


def _fill_view(
    step: int,
    filled: np.ndarray,
    *,
    sets: Sequence[Images],
    number: int,
    augmentation: Augmentation,
    each: int,
) -> tuple[int, np.ndarray]:
    """Fills the next images of a view, which takes `each` steps; the view and their rows."""
    view, start = step // each, step % each * number
    rows = np.arange(start, start + number) % len(sets[0])
    keys = _keys_of_view(view, rows)
    _draw(sets, rows, augmentation, keys, _parts(filled, sets, number))
    return view, rows


def _with_unlabelled(
    *, step: int, sample: Callable[..., np.ndarray], rows: range, wanted: int, seed: int
) -> np.ndarray:
    """The rows of a sampler, then some of those without a class."""
    rng = np.random.default_rng((seed, step, _UNLABELLED))
    return np.concatenate([sample(step=step), rows.start + draw(len(rows), wanted, rng)])


def _keys_of_view(view: int, rows: np.ndarray) -> list[tuple[int, ...]]:
    """The random key of each image in a view: the same in runs of every seed."""
    return [(view, row, _VIEW) for row in rows.tolist()]


def _draw(
    sets: Sequence[Images],
    rows: np.ndarray,
    augmentation: Augmentation,
    keys: Sequence[tuple[int, ...]],
    parts: Sequence[np.ndarray],
) -> None:
    """Some images as training sees them, uint8 [n, h, w, c], each by a random key of its own."""
    if not augmentation:
        for images, part in zip(sets, parts, strict=True):
            images.read_into(rows, part)
        return
    sizes, crop = [images.shape[1:3] for images in sets], sets[0].crop
    for place, (row, key) in enumerate(zip(rows.tolist(), keys, strict=True)):
        pictures = [images.picture(row) for images in sets]
        rng = np.random.default_rng(key)
        for part, image in zip(
            parts, augment(pictures, sizes, augmentation, rng, crop=crop), strict=True
        ):
            part[place] = image
