"""A teacher's outputs for every batch of a run, computed once and read from disk in each step.

The batches of a run are a pure function of its seed and data, so what a frozen teacher says of them
can be kept: beside the teacher, under a name that is a digest of all it depends on. Students that
share teacher, data, seed and steps share the store. Where images have a few draws of augmentation
in rotation (`data.views`), these are stored instead, whatever the number of steps.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import PIL
import simplejpeg
from jax.sharding import Mesh
from tqdm import tqdm

import darkrank_jax
from darkrank_jax.config.description import describe
from darkrank_jax.config.run import Run
from darkrank_jax.data import Split, every_view, view_of
from darkrank_jax.data import fingerprint as images_fingerprint
from darkrank_jax.distributed.mesh import by_rows, put
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.array_files import map_npy
from darkrank_jax.files import remove_unfinished, replacing
from darkrank_jax.models import compute_dtype
from darkrank_jax.training.network import Embedder, teach

Batch = dict[str, Any]
Store = dict[str, np.ndarray]
# Where in a store the outputs for some images are, and the images.
Stream = Iterable[tuple[Any, np.ndarray]]

# What images and their augmentation follow from, beside a run.
_LIBRARIES: tuple[Any, ...] = (darkrank_jax, np, cv2, PIL, simplejpeg)


def open_store(
    folder: Path,
    run: Run,
    sampler: Mapping[str, Any],
    train: Split,
    teacher: Embedder,
    wanted: set[str],
    stream: Callable[[], Stream],
    mesh: Mesh,
) -> Store:
    """The teacher's outputs for all batches or views of a run; computed now if not there yet.

    Args:
      folder: that holds the teacher's stores, one folder a digest.
      run: of the student; its data, seed and steps decide the batches.
      sampler: of its batches, with all that it knows.
      train: the images that they are drawn from.
      teacher: a network in evaluation mode.
      wanted: names of the teacher's arrays: "teacher_embeddings", ...
      stream: gives all images, each time as many, and where in the arrays their outputs belong.
      mesh: the devices.

    Returns:
      Array [steps, batch, ...] by name, or [views, images, ...]; memory-mapped, read-only.

    Raises:
      UserError: the folder cannot be written, as on a full disk, or a feature map is wanted, which
        would take too much room; or a file of the store is damaged.
    """
    if "teacher_maps" in wanted:
        raise UserError(
            "store_teacher: a loss takes the teacher's feature maps, which are too large to store; "
            "set store_teacher to False"
        )
    path = folder / fingerprint(run, sampler, train, teacher, wanted)
    if not path.is_dir():
        try:
            _fill(path, _shape(run, len(train.labels)), teacher, wanted, stream, mesh)
        except UserError as error:
            # Another run of the same teacher may have been faster; its store is the same.
            if not path.is_dir():
                raise UserError(f"{error}; or set store_teacher to False") from error
    advice = f"delete {path}, and the teacher's outputs are computed again"
    return {name: map_npy(path / f"{name}.npy", advice) for name in sorted(wanted)}


def _computed(described: Any) -> Any:
    """What a run's description says of its results; who prepares its batches changes none."""
    if not isinstance(described, dict):
        return described
    free = ("num_threads", "num_workers")
    return {name: _computed(field) for name, field in described.items() if name not in free}


def fingerprint(
    run: Run, sampler: Mapping[str, Any], train: Split, teacher: Embedder, wanted: set[str]
) -> str:
    """A digest of all that stored outputs depend on: teacher, images, augmentation, batches.

    Args:
      run: of the student.
      sampler: of its batches: name, options, and arrays that it goes by, such as "neighbors".
      train: its images.
      teacher: the network.
      wanted: names of the teacher's arrays.

    Returns:
      32 hexadecimal digits.
    """
    facts = {
        "teacher": _computed(describe(teacher.run)),
        # What a dtype of "auto" stands for here.
        "computed": jnp.dtype(compute_dtype("auto")).name,
        "wanted": sorted(wanted),
        "seed": run.seed,
        "shape": _shape(run, len(train.labels)),
        "views": run.data.views,
        "augmentation": run.data.augmentation,
        "images": images_fingerprint(train.images),
        "versions": [library.__version__ for library in _LIBRARIES],
    }
    arrays = [*jax.tree.leaves(jax.device_get(teacher.variables)), train.labels]
    if not run.data.views:
        known = {name: each for name, each in sampler.items() if isinstance(each, np.ndarray)}
        options = {name: each for name, each in sampler.items() if name not in known}
        facts |= {"images_per_class": run.data.images_per_class, "sampler": options}
        arrays += known.values()
    digest = hashlib.sha256(json.dumps(facts).encode())
    for array in arrays:
        digest.update(str((array.shape, array.dtype)).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:32]


def with_teacher(
    batches: Iterable[Batch], store: Store, run: Run, num_images: int, first_step: int
) -> Iterator[Batch]:
    """Adds what the teacher says to what stands under "teacher" in each batch.

    Args:
      batches: of the run, with their "rows".
      store: of `open_store`; empty where nothing is to be added.
      run: of the student.
      num_images: of its training split.
      first_step: of the first batch.

    Yields:
      The batches.
    """
    data = run.data
    for step, batch in enumerate(batches, first_step):
        where: Any = step
        if data.views:
            where = (view_of(step, data.batch_size, num_images, data.views), batch["rows"])
        said = {name: np.asarray(array[where]) for name, array in store.items()}
        yield batch | {"teacher": batch["teacher"] | said}


def views_stream(run: Run, train: Split) -> Iterator[tuple[Any, np.ndarray]]:
    """All views of a run's images, as `open_store` takes them."""
    data = run.data
    drawn = every_view(
        train,
        seed=run.seed,
        views=data.views,
        batch_size=data.batch_size,
        augmentation=data.augmentation,
        num_threads=data.num_threads,
        num_workers=data.num_workers,
    )
    with closing(drawn):
        for view, rows, images in drawn:
            yield (view, rows), images


def _shape(run: Run, num_images: int) -> tuple[int, int]:
    """The first two axes of a run's store."""
    data = run.data
    return (data.views, num_images) if data.views else (run.steps, data.batch_size)


def _fill(
    path: Path,
    shape: tuple[int, int],
    teacher: Embedder,
    wanted: set[str],
    stream: Callable[[], Stream],
    mesh: Mesh,
) -> None:
    """Computes a store beside its place and moves it there when it is whole."""
    remove_unfinished(path.parent)
    with replacing(path, folder=True) as beside:
        outputs_of = jax.jit(teach(teacher, wanted))
        arrays: Store = {}
        for where, images in tqdm(stream(), desc="teacher's outputs", unit="batch"):
            outputs = jax.device_get(outputs_of(teacher.variables, put(images, by_rows(mesh))))
            for name, output in outputs.items():
                if name not in arrays:
                    size = (*shape, *output.shape[1:])
                    arrays[name] = _new_array(beside / f"{name}.npy", output.dtype, size)
                arrays[name][where] = output
        for array in arrays.values():
            array.flush()  # pyright: ignore[reportAttributeAccessIssue]


def _new_array(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """A file as an array to write to, whose room is taken at once.

    Otherwise a disk that fills up would end the process by a signal, without a word.
    """
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    # Not on every system; there a full disk is met as said above.
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
