"""A teacher's outputs for every batch of a run, computed once and read from disk in each step.

The batches of a run are a pure function of its seed and data, so what a frozen teacher says of them
can be kept: beside the teacher, under a name that is a digest of all it depends on. Students that
share teacher, data, seed and steps share the store. Where images have a few augmented views
in rotation (`data.views`), these are stored instead, whatever seed and number of steps.
"""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import PIL
import simplejpeg
from jax.sharding import Mesh
from tqdm import tqdm

from darkrank_jax.config.description import describe
from darkrank_jax.digests import digest, file_digest
from darkrank_jax.distributed.mesh import by_rows, make_mesh, put, replicated
from darkrank_jax.distributed.processes import agreed, lead_first, leads, meet
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.array_files import map_npy
from darkrank_jax.files import make_folder, remove_unfinished, replacing
from darkrank_jax.models import compute_dtype
from darkrank_jax.training.batches import Batches
from darkrank_jax.training.compiled import teach
from darkrank_jax.training.network import Embedder
from darkrank_jax.version import __version__
from darkrank_jax.workdir import manifests

# A teacher's outputs by name for each of some batches of images.
Outputs = Callable[[Iterable[np.ndarray]], Iterator[Mapping[str, np.ndarray]]]

# Shards of a store, at most: what a kill can lose, and files to open.
_MOST_SHARDS = 256

# What images and their augmentation follow from, beside a run.
_LIBRARIES: tuple[Any, ...] = (np, cv2, PIL, simplejpeg)


class Store(NamedTuple):
    """A teacher's outputs in shards, memory-mapped.

    Attributes:
      shards: by name, arrays [at most span, batch, ...] of batches that follow each other.
      span: batches of a shard.
    """

    shards: Mapping[str, Sequence[np.ndarray]]
    span: int

    def read(self, batches: np.ndarray, places: np.ndarray) -> dict[str, np.ndarray]:
        """Some outputs by name, float32 [n, ...].

        Args:
          batches: int [n], of `Batches.place`.
          places: int [n], likewise.
        """
        return {name: self._read(name, batches, places) for name in self.shards}

    def _read(self, name: str, batches: np.ndarray, places: np.ndarray) -> np.ndarray:
        shards, numbers = self.shards[name], batches // self.span
        found = np.empty((len(batches), *shards[0].shape[2:]), np.float32)
        for number in np.unique(numbers):
            chosen = numbers == number
            found[chosen] = shards[number][batches[chosen] % self.span, places[chosen]]
        return found


def open_store(
    folder: Path,
    batches: Batches,
    teacher: Embedder,
    wanted: set[str],
    mesh: Mesh,
    dtype: str = "float32",
) -> Store:
    """The teacher's outputs for all batches or views of a run; those that are missing are computed.

    Each process computes and writes its shards, and reads all of them; a shard is there whole or
    not at all, so that a store that was not finished goes on where it stood, with any number of
    processes. Once it is whole, sizes and digests of its files are kept, and checked by each run.

    Args:
      folder: that holds the teacher's stores, one folder a digest; all processes see it.
      batches: of the student's run.
      teacher: a network in evaluation mode.
      wanted: names of the teacher's arrays: "teacher_embeddings", ...
      mesh: the devices.
      dtype: that they are stored in: "float32" or "float16".

    Returns:
      The store.

    Raises:
      UserError: the folder cannot be written, as on a full disk; a feature map is wanted, which
        would take too much room; a number is too large for float16; or a file is damaged.
    """
    if "teacher_maps" in wanted:
        raise UserError(
            "store_teacher: a loss takes the teacher's feature maps, which are too large to store; "
            "set store_teacher to False"
        )
    path = folder / outputs_digest(batches, teacher, wanted, dtype)
    if not agreed(int(is_whole(path))):
        try:
            fill_store(path, batches, wanted, _computing(teacher, wanted, batches, mesh), dtype)
        except UserError as error:
            raise UserError(f"{error}; or set store_teacher to False") from error
    return read_store(path, batches, wanted, "and the teacher's outputs are computed again")


def is_whole(path: Path) -> bool:
    """Whether a store was finished."""
    return (path / manifests.NAME).exists()


def fill_store(
    path: Path, batches: Batches, wanted: Iterable[str], outputs: Outputs, dtype: str
) -> None:
    """Computes and writes what a store lacks, each process its shards, and seals it.

    Args:
      path: of the store.
      batches: of the student's run.
      wanted: names of the teacher's arrays.
      outputs: computes them.
      dtype: see `open_store`.

    Raises:
      UserError: see `open_store`.
    """
    _fill(path, batches, wanted, outputs, dtype)
    meet()
    with lead_first():
        if leads():
            manifests.seal(path)


def read_store(path: Path, batches: Batches, wanted: Iterable[str], then: str) -> Store:
    """A store that was finished, its files checked.

    Args:
      path: of the store.
      batches: of the student's run.
      wanted: names of the teacher's arrays.
      then: what follows once a damaged store is deleted, to end the error with.

    Raises:
      UserError: a file is damaged.
    """
    advice = f"delete {path}, {then}"
    found = manifests.damage(path) if leads() else ""
    if agreed(int(bool(found))):
        raise UserError(f"{path}: is damaged ({found or 'see process 0'}); {advice}")
    span, count = _shards(batches)
    shards = {
        name: [map_npy(_shard(path, name, number), advice) for number in range(count)]
        for name in sorted(wanted)
    }
    return Store(shards, span)


def _computed(described: Any) -> Any:
    """What a run's description says of its results; who prepares its batches changes none."""
    if not isinstance(described, dict):
        return described
    free = ("num_threads", "num_workers")
    return {name: _computed(field) for name, field in described.items() if name not in free}


def outputs_digest(
    batches: Batches, teacher: Embedder | Path, wanted: set[str], dtype: str = "float32"
) -> str:
    """A digest of all that stored outputs depend on: teacher, images, augmentation, batches.

    Args:
      batches: of the student's run.
      teacher: the network; of another framework, the file of its embeddings.
      wanted: names of the teacher's arrays.
      dtype: that they are stored in.

    Returns:
      32 hexadecimal digits.
    """
    data, train = batches.data, batches.train
    known, leaves = _identity(teacher)
    facts = {
        **known,
        "wanted": sorted(wanted),
        "batches": [batches.num_stored(), data.batch_size],
        "dtype": dtype,
        "views": data.views,
        "augmentation": data.augmentation,
        "images": train.images.digest(),
        "versions": [__version__, *(library.__version__ for library in _LIBRARIES)],
    }
    arrays = [*leaves, train.labels]
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


def _identity(teacher: Embedder | Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    """What a teacher's outputs for an image depend on: facts, and arrays."""
    if isinstance(teacher, Path):
        return {"embeddings": file_digest(teacher)}, []
    # What a dtype of "auto" stands for here.
    computed = jnp.dtype(compute_dtype("auto")).name
    facts = {"teacher": _computed(describe(teacher.run)), "computed": computed}
    return facts, jax.tree.leaves(jax.device_get(teacher.variables))


def _computing(teacher: Embedder, wanted: set[str], batches: Batches, mesh: Mesh) -> Outputs:
    """The outputs of a network, on the devices of this process."""
    if jax.process_count() > 1:
        mesh = make_mesh(batches.data.batch_size, jax.local_devices())
    variables = put(jax.device_get(teacher.variables), replicated(mesh))
    outputs_of = jax.jit(teach(teacher, wanted))

    def outputs(batches: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        for images in batches:
            yield jax.device_get(outputs_of(variables, put(images, by_rows(mesh))))

    return outputs


def _shards(batches: Batches) -> tuple[int, int]:
    """Batches of a shard, and number of shards."""
    span = -(-batches.num_stored() // _MOST_SHARDS)
    return span, -(-batches.num_stored() // span)


def _fill(
    path: Path, batches: Batches, wanted: Iterable[str], outputs: Outputs, dtype: str
) -> None:
    """Computes this process' shards of a store that are not there yet."""
    make_folder(path)
    remove_unfinished(path)
    span, count = _shards(batches)
    own = range(count)[jax.process_index() :: jax.process_count()]
    missing = [n for n in own if not all(_shard(path, name, n).exists() for name in wanted)]
    for number in tqdm(missing, desc="teacher's outputs", unit="shard", disable=not leads()):
        size = min(span, batches.num_stored() - number * span)
        shards: dict[str, np.ndarray] = {}
        for place, found in enumerate(outputs(batches.stored(number * span, size))):
            for name, output in found.items():
                if name not in shards:
                    shards[name] = np.empty((size, *output.shape), dtype)
                shards[name][place] = _stored(name, output, dtype)
        for name, shard in shards.items():
            with replacing(_shard(path, name, number)) as beside, beside.open("wb") as file:
                np.save(file, shard)


def _shard(path: Path, name: str, number: int) -> Path:
    """The file of a shard of an array."""
    return path / f"{name}-{number:05}.npy"


def _stored(name: str, output: np.ndarray, dtype: str) -> np.ndarray:
    """Outputs in the type that they are stored in; refuses those that it cannot hold."""
    if dtype == "float16" and np.abs(output).max(initial=0) > np.finfo(np.float16).max:
        raise UserError(
            f"store_dtype: {name} reaches {np.abs(output).max():.3g}, and float16 holds at most "
            "65504; give float32"
        )
    return output.astype(dtype)
