"""A teacher of another framework: its embeddings of all augmented views, stored beside its file."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from darkrank_jax.config.run import Data
from darkrank_jax.data import Split
from darkrank_jax.distributed.processes import agreed
from darkrank_jax.errors import UserError
from darkrank_jax.training.batches import Batches
from darkrank_jax.training.teacher.outputs import (
    Store,
    fill_store,
    is_whole,
    outputs_digest,
    read_store,
)

_WANTED = {"teacher_embeddings"}


def views_of(data: Data, split: Split) -> Batches:
    """The views that are stored, which follow from no seed and no number of steps.

    Args:
      data: of the student's run.
      split: that it trains on, at the teacher's image size.
    """
    return Batches(split, data, data.sampler, seed=0, steps=0, teacher_split=split)


def fill_views(
    path: Path, batches: Batches, function: Callable[[np.ndarray], Any], dtype: str
) -> None:
    """Stores the embeddings of all augmented views that are not stored yet.

    Args:
      path: of the teacher's file of embeddings, beside which they are stored.
      batches: of `views_of`.
      function: uint8 images [batch_size, h, w, c] to embeddings [batch_size, dim].
      dtype: "float32" or "float16".

    Raises:
      UserError: see `open_store`.
    """

    def outputs(batches: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        for images in batches:
            yield {"teacher_embeddings": np.asarray(function(images))}

    store = _folder(path, batches, dtype)
    if not agreed(int(is_whole(store))):
        fill_store(store, batches, _WANTED, outputs, dtype)


def check_views(path: Path, batches: Batches, dtype: str) -> Path:
    """The folder in which all views are stored.

    Raises:
      UserError: they are not, or those of other images, augmentations or embeddings are.
    """
    store = _folder(path, batches, dtype)
    if not is_whole(store):
        raise UserError(
            f"{path}: must have the embeddings of {batches.data.views} views of each image beside "
            f"it, as they are augmented here (got no {store}); run darkrank_jax.embed_outside "
            "with this config, or set store_teacher to False"
        )
    return store


def open_views(path: Path, batches: Batches, dtype: str) -> Store:
    """The embeddings of all views.

    Args:
      path: of the teacher's file of embeddings.
      batches: of the student's run, with the teacher's images.
      dtype: that they are stored in.

    Raises:
      UserError: see `check_views`; or a file is damaged.
    """
    store = check_views(path, batches, dtype)
    return read_store(store, batches, _WANTED, "and run darkrank_jax.embed_outside again")


def _folder(path: Path, batches: Batches, dtype: str) -> Path:
    """Named by all that the embeddings follow from: the file, images, augmentation, libraries."""
    return path.with_name(f"{path.name}.views") / outputs_digest(batches, path, _WANTED, dtype)
