"""Embeddings of a run's images by a teacher of another framework, and of their views."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from darkrank_jax.config.run import Run
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.embed import embed_images
from darkrank_jax.files import replacing
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training.teacher.views import fill_views, views_of


def write_embeddings(run: Run, path: Path, function: Callable[[np.ndarray], Any]) -> None:
    """Embeds the images that a run trains on by any function, and writes `teacher.embeddings`.

    Of a run with `store_teacher` and `data.views`, also all augmented views, beside the file; what
    was stored before a kill stays, if the function gives the same file again.

    Args:
      run: whose teacher says the size of images that the function takes.
      path: of the .npz to write: "ids" and "vectors".
      function: uint8 images [256, h, w, c], or of augmented views [data.batch_size, h, w, c], the
        last batch filled up, to embeddings, one for each.

    Raises:
      UserError: the run has no teacher, the function gives something else than embeddings, or the
        file cannot be written.
    """
    if run.teacher is None:
        raise UserError("teacher: must not be empty; state the image_size that the function takes")
    if path.suffix != ".npz":
        raise UserError(f"{path}: must end in .npz; give another name")
    splits = Splits()[dataclasses.replace(run.data, image_size=run.teacher.data.image_size)]
    seen = [splits["train"]]
    if not splits["train"].class_names:
        # On these the student's agreement with the teacher chooses the checkpoint.
        seen.append(splits["validation"])
    ids = np.array([name for split in seen for name in split.names])
    if not len(ids):
        ids, seen = np.arange(len(splits["train"].labels)), seen[:1]
    checked = _checked(function)
    vectors = np.concatenate([embed_images(checked, split.images) for split in seen])
    with replacing(path) as beside, beside.open("wb") as file:
        np.savez(file, ids=ids, vectors=vectors)
    if run.store_teacher and run.data.views:
        fill_views(path, views_of(run.data, splits["train"]), checked, run.store_dtype)


def _checked(function: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], Any]:
    """The function, whose results are embeddings of one size of the images that it was given."""
    sizes = set()

    def embed(images: np.ndarray) -> np.ndarray:
        found = np.asarray(function(images))
        if found.ndim != 2 or len(found) != len(images) or found.dtype.kind != "f":
            raise UserError(
                f"function: must give floats [{len(images)}, dim] (got {found.dtype} "
                f"{list(found.shape)}); return an embedding for each image"
            )
        if not np.isfinite(found).all():
            raise UserError("function: gives NaN or infinite numbers; check its preprocessing")
        sizes.add(found.shape[1])
        if len(sizes) > 1:
            raise UserError(
                f"function: must give embeddings of one size (got {sorted(sizes)}); check it"
            )
        return found

    return embed
