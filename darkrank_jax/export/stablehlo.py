"""StableHLO by jax.export: one file for CPU, CUDA and TPU that runs with jax, without us."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from darkrank_jax.errors import UserError
from darkrank_jax.export.facts import parse_facts, write_facts
from darkrank_jax.export.source import EmbedBatch, Source

PLATFORMS = ("cpu", "cuda", "tpu")
# Of a kernel's numbers, in int8.
_MOST = 127.0


def write_stablehlo(source: Source, path: Path) -> None:
    """Writes a network with its parameters; the facts lie beside it, as the format has no place.

    Args:
      source: the network.
      path: of the file; with ".json" after it, of the facts.
    """
    _write(source, source.embed, path)


def write_stablehlo_int8(source: Source, path: Path) -> None:
    """The same with kernels in int8, a scale for each output, which is a quarter of the size.

    Rounded to the nearest of 255 steps; the computation is in float32.

    Args:
      source: the network.
      path: as for `write_stablehlo`.
    """
    packed = jax.tree.map(_pack, source.network.variables)

    def embed(images: jax.Array) -> jax.Array:
        variables = jax.tree.map(_unpack, packed, is_leaf=lambda leaf: isinstance(leaf, tuple))
        return source.network.embed_step()(variables, images)["embeddings"]

    _write(source, embed, path)


def load_stablehlo(path: Path) -> tuple[dict[str, Any], EmbedBatch]:
    """Reads what either of the two wrote.

    Args:
      path: of the file.

    Returns:
      The facts, and the function from uint8 images to embeddings.

    Raises:
      UserError: the facts are missing, or the file is damaged.
    """
    beside = _beside(path)
    try:
        facts = parse_facts(beside, json.loads(beside.read_text()))
        loaded = export.deserialize(bytearray(path.read_bytes()))
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error
    # What a damaged file makes flatbuffers and MLIR raise is anything.
    except Exception as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: is no whole StableHLO file; export it again") from error
    call = jax.jit(loaded.call)
    return facts, lambda images: np.asarray(call(images))


def _write(source: Source, embed: Any, path: Path) -> None:
    """Exports a function for any size of batch."""
    shape = export.symbolic_shape("batch, " + ", ".join(map(str, source.facts["image_shape"])))
    images = jax.ShapeDtypeStruct(shape, np.uint8)
    exported = export.export(jax.jit(embed), platforms=PLATFORMS)(images)
    path.write_bytes(exported.serialize())
    _beside(path).write_text(json.dumps(write_facts(source.facts)) + "\n")


def _beside(path: Path) -> Path:
    """Where the facts of a file lie."""
    return path.with_name(f"{path.name}.json")


def _pack(leaf: np.ndarray) -> Any:
    """Kernels, which are nearly all of a network, as (int8, scale); others as they are."""
    if leaf.ndim < 2 or leaf.size < 2**8:
        return leaf
    scale = np.abs(leaf).max(axis=tuple(range(leaf.ndim - 1)), keepdims=True) / _MOST
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    return np.round(leaf / scale).astype(np.int8), scale


def _unpack(leaf: Any) -> Any:
    """The kernel again."""
    if not isinstance(leaf, tuple):
        return leaf
    numbers, scale = leaf
    return jax.numpy.asarray(numbers).astype(np.float32) * scale
