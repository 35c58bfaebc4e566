"""Parameters alone, as safetensors under PyTorch's names and in its order of axes."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.array_files import check_regular
from darkrank_jax.export.facts import CHECKSUM, checksum, parse_facts, write_facts
from darkrank_jax.export.source import EmbedBatch, ExportSource, network_digest
from darkrank_jax.models import EmbeddingModel, build_model
from darkrank_jax.models.pretrained import Variable, channels_first, channels_last, tensor_name
from darkrank_jax.training.step import make_embed_step

_ADVICE = "export it again"


def write_weights(source: ExportSource, path: Path) -> None:
    """Writes parameters and running statistics.

    The backbone's have the names of the implementation that it follows, after "backbone."; the
    embedding layer is "embedding.weight" and "embedding.bias". docs/export.md lists them.

    Args:
      source: the network.
      path: of the file; the facts, with which it is built again, are in its metadata.
    """
    model, variables = build_model(**source.facts["model"]), source.network.variables
    parts = {"params": variables["params"]["model"], "batch_stats": variables["batch_stats"]}
    flat: dict[Any, Any] = traverse_util.flatten_dict(parts)
    tensors = {_name(variable, model): channels_first(leaf) for variable, leaf in flat.items()}
    # Through bytes, so that a full disk is Python's error.
    texts = write_facts(source.facts) | {CHECKSUM: checksum(b"", source.facts)}
    path.write_bytes(save(tensors, metadata=texts))


def load_weights(path: Path) -> tuple[dict[str, Any], EmbedBatch]:
    """Builds the network again.

    Args:
      path: of the file.

    Returns:
      The facts, and the function from uint8 images to embeddings.

    Raises:
      UserError: the file is damaged, no export of this package, or of another version's model.
    """
    check_regular(path, _ADVICE)
    try:
        with safe_open(path, "numpy") as file:
            texts = file.metadata()
            facts = parse_facts(path, texts)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    # Some types have no counterpart in NumPy, for which it raises what it likes.
    except (OSError, ValueError, TypeError, KeyError, AttributeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read as safetensors ({reason}); {_ADVICE}") from error
    # Earlier exports have none; that of the tensors is among the facts.
    if texts.get(CHECKSUM, own := checksum(b"", facts)) != own:
        raise UserError(f"{path}: is damaged (checksums differ); {_ADVICE}")
    model, shapes = _built(path, facts)
    names = {variable: _name(variable, model) for variable in shapes}
    if tensors.keys() != set(names.values()):
        raise UserError(f"{path}: is of another version of {facts['model']['name']}; {_ADVICE}")
    found = {variable: channels_last(tensors[name]) for variable, name in names.items()}
    for variable, tensor in found.items():
        if (tensor.shape, tensor.dtype) != (shapes[variable].shape, np.float32):
            raise UserError(
                f"{path}: {names[variable]} must be float32 {list(shapes[variable].shape)} (got "
                f"{tensor.dtype} {list(tensor.shape)}); {_ADVICE}"
            )
    parts = traverse_util.unflatten_dict(found)
    variables = {"params": {"model": parts["params"]}, "batch_stats": parts.get("batch_stats", {})}
    if network_digest(facts, variables) != facts["fingerprint"]:
        raise UserError(f"{path}: is damaged or was changed (its fingerprint differs); {_ADVICE}")
    mean, std = (json_scale(facts[name]) for name in ("mean", "std"))
    step = make_embed_step(model, mean, std)
    call = jax.jit(lambda images: step(variables, images)["embeddings"])
    return facts, lambda images: np.asarray(call(images))


def _built(path: Path, facts: dict[str, Any]) -> tuple[EmbeddingModel, dict[Variable, Any]]:
    """The model of some facts, and shape and type of its variables."""
    images = jax.ShapeDtypeStruct((1, *facts["image_shape"]), np.float32)
    try:
        model = build_model(**facts["model"])
        given, shapes = jax.eval_shape(
            lambda x: model.init_with_output(jax.random.key(0), x, train=False), images
        )
    # Options of other types or values fail anywhere in a model.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: facts.model cannot be built ({reason}); {_ADVICE}") from error
    if (dim := given["embeddings"].shape[1]) != facts["embedding_dim"]:
        raise UserError(
            f"{path}: facts.embedding_dim must be {dim}, that of facts.model (got "
            f"{facts['embedding_dim']}); {_ADVICE}"
        )
    return model, traverse_util.flatten_dict(shapes)


def json_scale(value: float | list[float]) -> float | tuple[float, ...]:
    """A number, or one for each channel, as JSON has it."""
    return tuple(value) if isinstance(value, list) else value


def _name(variable: Variable, model: EmbeddingModel) -> str:
    """The name of a variable in the file."""
    collection, *names = variable
    if names[0] == "backbone":
        return "backbone." + tensor_name((collection, *names[1:]), model.backbone)
    return tensor_name(variable, model)
