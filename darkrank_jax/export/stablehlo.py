"""StableHLO by jax.export: one file for CPU, CUDA and TPU that runs with jax, without us."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from darkrank_jax.data.files.archives import read_file
from darkrank_jax.errors import UserError
from darkrank_jax.export.facts import CHECKSUM, checksum, parse_facts, write_facts
from darkrank_jax.export.graph_checks import stablehlo_fault
from darkrank_jax.export.source import EmbedBatch, ExportSource
from darkrank_jax.files import read_json

PLATFORMS = ("cpu", "cuda", "tpu")
# Of a kernel's numbers, in int8.
_MOST = 127.0
_ADVICE = "export it again"


def write_stablehlo(source: ExportSource, path: Path) -> None:
    """Writes a network with its parameters; the facts lie beside it, as the format has no place.

    Args:
      source: the network.
      path: of the file; with ".json" after it, of the facts.
    """
    _write(source, source.embed, path)


def write_stablehlo_int8(source: ExportSource, path: Path) -> None:
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
      UserError: a file of the two is missing, damaged, of another export or of a newer jax; the
        module calls something, or takes or gives something else than its facts say.
    """
    beside = _beside(path)
    texts = read_json(beside, _ADVICE)
    facts, module = parse_facts(beside, texts), read_file(path)
    if texts.get(CHECKSUM) != checksum(module, facts):
        raise UserError(f"{path}: does not belong to {beside.name}, or is damaged; {_ADVICE}")
    try:
        loaded = export.deserialize(bytearray(module))
        if loaded.calling_convention_version > export.maximum_supported_calling_convention_version:
            raise ValueError("a later calling convention, which jax does not look at")
        fault = stablehlo_fault(loaded.mlir_module_serialized)
    # What a damaged file makes flatbuffers and MLIR raise is anything.
    except Exception as error:
        raise UserError(
            f"{path}: is damaged, or of a newer jax than {jax.__version__} here; update jax, or "
            "export it again"
        ) from error
    fault = fault or _fault_of_ends(loaded, facts)
    if fault:
        raise UserError(f"{path}: {fault}, which no export does; {_ADVICE}")
    call = jax.jit(loaded.call)

    def embed(images: np.ndarray) -> np.ndarray:
        try:
            return np.asarray(call(images))
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{path}: does not run here ({reason}); {_ADVICE}") from error

    return facts, embed


def _fault_of_ends(loaded: export.Exported, facts: dict[str, Any]) -> str:
    """What a module takes or gives beside one batch of images and embeddings, or nothing."""
    ends = {
        "takes": (loaded.in_avals, np.uint8, facts["image_shape"]),
        "gives": (loaded.out_avals, np.float32, [facts["embedding_dim"]]),
    }
    for verb, (avals, dtype, shape) in ends.items():
        said = ", ".join(aval.str_short() for aval in avals)
        if len(avals) != 1 or avals[0].dtype != dtype or len(avals[0].shape) != 1 + len(shape):
            return f"{verb} {said or 'nothing'}"
        # Symbols have no equality with numbers that is known.
        if [side if isinstance(side, int) else -1 for side in avals[0].shape[1:]] != shape:
            return f"{verb} {said}"
    if loaded.in_tree != jax.tree.structure(((0,), {})) or loaded.nr_devices != 1:
        return f"takes {loaded.in_tree} on {loaded.nr_devices} devices"
    if loaded.ordered_effects or loaded.unordered_effects:
        return "has effects"
    return ""


def _write(source: ExportSource, embed: Any, path: Path) -> None:
    """Exports a function for any size of batch."""
    shape = export.symbolic_shape("batch, " + ", ".join(map(str, source.facts["image_shape"])))
    images = jax.ShapeDtypeStruct(shape, np.uint8)
    module = bytes(export.export(jax.jit(embed), platforms=PLATFORMS)(images).serialize())
    path.write_bytes(module)
    texts = write_facts(source.facts) | {CHECKSUM: checksum(module, source.facts)}
    _beside(path).write_text(json.dumps(texts) + "\n", encoding="utf-8")


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
