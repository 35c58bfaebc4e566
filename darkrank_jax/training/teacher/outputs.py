"""A teacher's outputs for every batch of a run, computed once and read from disk in each step.

The batches of a run are a pure function of its seed and data, so what a frozen teacher says of them
can be kept: beside the teacher, under a name that is a digest of all it depends on. Students that
share teacher, data, seed and steps share the store. Where images have a few augmented views
in rotation (`data.views`), these are stored instead, whatever seed and number of steps.
"""

import itertools
import json
import os
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

from darkrank_jax.config.description import describe
from darkrank_jax.digests import digest
from darkrank_jax.distributed.mesh import by_rows, put
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.array_files import map_npy
from darkrank_jax.files import remove_unfinished, replacing
from darkrank_jax.models import compute_dtype
from darkrank_jax.training.batches import Batches
from darkrank_jax.training.compiled import teach
from darkrank_jax.training.network import Embedder
from darkrank_jax.version import __version__

Store = dict[str, np.ndarray]

# What images and their augmentation follow from, beside a run.
_LIBRARIES: tuple[Any, ...] = (np, cv2, PIL, simplejpeg)


def open_store(
    folder: Path, batches: Batches, teacher: Embedder, wanted: set[str], mesh: Mesh
) -> Store:
    """The teacher's outputs for all batches or views of a run; computed now if not there yet.

    Args:
      folder: that holds the teacher's stores, one folder a digest.
      batches: of the student's run.
      teacher: a network in evaluation mode.
      wanted: names of the teacher's arrays: "teacher_embeddings", ...
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
    path = folder / outputs_digest(batches, teacher, wanted)
    if not path.is_dir():
        try:
            _fill(path, batches, teacher, wanted, mesh)
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


def outputs_digest(batches: Batches, teacher: Embedder, wanted: set[str]) -> str:
    """A digest of all that stored outputs depend on: teacher, images, augmentation, batches.

    Args:
      batches: of the student's run.
      teacher: the network.
      wanted: names of the teacher's arrays.

    Returns:
      32 hexadecimal digits.
    """
    data, train = batches.data, batches.train
    facts = {
        "teacher": _computed(describe(teacher.run)),
        # What a dtype of "auto" stands for here.
        "computed": jnp.dtype(compute_dtype("auto")).name,
        "wanted": sorted(wanted),
        "shape": batches.in_store(),
        "views": data.views,
        "augmentation": data.augmentation,
        "images": train.images.digest(),
        "versions": [__version__, *(library.__version__ for library in _LIBRARIES)],
    }
    arrays = [*jax.tree.leaves(jax.device_get(teacher.variables)), train.labels]
    if not data.views:
        sampler = batches.sampler
        known = {name: each for name, each in sampler.items() if isinstance(each, np.ndarray)}
        options = {name: each for name, each in sampler.items() if name not in known}
        facts |= {
            "seed": batches.seed,
            "images_per_class": data.images_per_class,
            "sampler": options,
            **({"unlabelled": data.num_unlabelled} if data.num_unlabelled else {}),
        }
        arrays += known.values()
    parts = (
        part
        for array in arrays
        for part in (str((array.shape, array.dtype)).encode(), array.tobytes())
    )
    return digest(itertools.chain([json.dumps(facts).encode()], parts))


def _fill(path: Path, batches: Batches, teacher: Embedder, wanted: set[str], mesh: Mesh) -> None:
    """Computes a store beside its place and moves it there when it is whole."""
    remove_unfinished(path.parent)
    with replacing(path, folder=True) as beside:
        outputs_of = jax.jit(teach(teacher, wanted))
        arrays: Store = {}
        for where, images in tqdm(batches.each_once(), desc="teacher's outputs", unit="batch"):
            outputs = jax.device_get(outputs_of(teacher.variables, put(images, by_rows(mesh))))
            for name, output in outputs.items():
                if name not in arrays:
                    size = (*batches.in_store(), *output.shape[1:])
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
