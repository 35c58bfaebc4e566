"""A teacher's outputs for every batch of a run, computed once and read from disk in each step.

The batches of a run are a pure function of its seed and data, so what a frozen teacher says of them
can be kept: beside the teacher, under a name that is a digest of all it depends on. Students that
share teacher, data, seed and steps share the store.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from darkrank_jax.data import Split
from darkrank_jax.data import fingerprint as images_fingerprint
from darkrank_jax.errors import UserError
from darkrank_jax.training.mesh import by_rows, put
from darkrank_jax.training.network import Embedder, teach
from darkrank_jax.training.run_config import Run, describe

Batch = dict[str, Any]
Store = dict[str, np.ndarray]


def open_store(
    folder: Path,
    run: Run,
    train: Split,
    teacher: Embedder,
    wanted: set[str],
    stream: Callable[[], Iterable[Batch]],
    mesh: Mesh,
) -> Store:
    """The teacher's outputs for all batches of a run; computed now if they are not there yet.

    Args:
      folder: that holds the teacher's stores, one folder a digest.
      run: of the student; its data, seed and steps decide the batches.
      train: the images that they are drawn from.
      teacher: a network in evaluation mode.
      wanted: names of the teacher's arrays: "teacher_embeddings", ...
      stream: gives the batches from the first step to the last.
      mesh: the devices.

    Returns:
      Array [steps, batch, ...] by name, memory-mapped, read-only.

    Raises:
      UserError: the folder cannot be written, or a feature map is wanted, which would take too
        much room.
    """
    if "teacher_maps" in wanted:
        raise UserError(
            "store_teacher: a loss takes the teacher's feature maps, which are too large to store; "
            "set store_teacher to False"
        )
    path = folder / fingerprint(run, train, teacher, wanted)
    if not path.is_dir():
        try:
            _fill(path, run, teacher, wanted, stream, mesh)
        except OSError as error:
            raise UserError(
                f"{path}: cannot be written ({error.strerror}); set store_teacher to False"
            ) from error
    return {name: np.load(path / f"{name}.npy", mmap_mode="r") for name in sorted(wanted)}


def fingerprint(run: Run, train: Split, teacher: Embedder, wanted: set[str]) -> str:
    """A digest of all that stored outputs depend on: teacher, images, augmentation, batches.

    Args:
      run: of the student.
      train: its images.
      teacher: the network.
      wanted: names of the teacher's arrays.

    Returns:
      32 hexadecimal digits.
    """
    facts = {
        "teacher": describe(teacher.run),
        "wanted": sorted(wanted),
        "seed": run.seed,
        "steps": run.steps,
        "batch": [run.data.batch_size, run.data.images_per_class],
        "sampler": run.data.sampler,
        "augmentation": run.data.augmentation,
        "images": images_fingerprint(train.images),
    }
    digest = hashlib.sha256(json.dumps(facts).encode())
    for array in (*jax.tree.leaves(jax.device_get(teacher.variables)), train.labels):
        digest.update(str((array.shape, array.dtype)).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:32]


def with_teacher(batches: Iterable[Batch], store: Store, first_step: int) -> Iterator[Batch]:
    """Adds what the teacher says to what stands under "teacher" in each batch."""
    for step, batch in enumerate(batches, first_step):
        said = {name: np.asarray(array[step]) for name, array in store.items()}
        yield batch | {"teacher": batch["teacher"] | said}


def _fill(
    path: Path,
    run: Run,
    teacher: Embedder,
    wanted: set[str],
    stream: Callable[[], Iterable[Batch]],
    mesh: Mesh,
) -> None:
    """Computes a store beside its place and moves it there when it is whole."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    outputs_of = jax.jit(teach(teacher, wanted))
    arrays: Store = {}
    for step, batch in enumerate(tqdm(stream(), desc="teacher's outputs", total=run.steps)):
        outputs = jax.device_get(outputs_of(teacher.variables, put(batch["images"], by_rows(mesh))))
        for name, output in outputs.items():
            if step == 0:
                arrays[name] = np.lib.format.open_memmap(
                    beside / f"{name}.npy", "w+", output.dtype, (run.steps, *output.shape)
                )
            arrays[name][step] = output
    for array in arrays.values():
        array.flush()  # pyright: ignore[reportAttributeAccessIssue]
    try:
        os.replace(beside, path)
    except OSError:
        # Another run of the same teacher was faster; its store is the same.
        if not path.is_dir():
            raise
        shutil.rmtree(beside)
