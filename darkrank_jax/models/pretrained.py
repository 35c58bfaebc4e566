"""ResNet weights from safetensors under torchvision's names; pickles are never opened."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError
from safetensors.numpy import load_file

from darkrank_jax.errors import UserError
from darkrank_jax.models.resnet import ResNet

# A variable's name here -> torchvision's.
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def load_resnet(path: str | Path, backbone: ResNet, *, channels: int = 3) -> dict[str, Any]:
    """Reads a ResNet's weights; the classifier `fc` is left out.

    Args:
      path: a .safetensors file with torchvision's names.
      backbone: the ResNet that takes them, of the same depth and width.
      channels: of an image.

    Returns:
      {"params": ..., "batch_stats": ...} of the backbone, float32.

    Raises:
      UserError: no such file, not safetensors, or names or shapes that differ; lists them.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path}: cannot be read as safetensors ({error}); give such a file"
        ) from error
    tensors = {name: tensor for name, tensor in tensors.items() if _belongs(name)}
    shapes = _shapes(backbone, channels)
    names = {variable: _torchvision_name(variable) for variable in shapes}
    _check(path, tensors, {names[variable]: shape for variable, shape in shapes.items()})
    return traverse_util.unflatten_dict(
        {variable: _channels_last(tensors[name]) for variable, name in names.items()}
    )


def _belongs(name: str) -> bool:
    """Whether a tensor is of the backbone: not of the classifier, nor a count of batches."""
    return not name.startswith("fc.") and not name.endswith("num_batches_tracked")


def _torchvision_name(variable: tuple[str, ...]) -> str:
    """("params", "layer1_0", "downsample_conv", "kernel") is layer1.0.downsample.0.weight there."""
    modules = ".".join(variable[1:-1])
    if modules.startswith("layer"):
        modules = modules.replace("_", ".", 1)
    modules = modules.replace("downsample_conv", "downsample.0")
    modules = modules.replace("downsample_bn", "downsample.1")
    return f"{modules}.{_LEAVES[variable[-1]]}"


def _channels_last(tensor: np.ndarray) -> np.ndarray:
    """Kernels from (out, in, height, width) to (height, width, in, out); others as they are."""
    return (tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor).astype(np.float32)


def _shapes(backbone: ResNet, channels: int) -> dict[tuple[str, ...], tuple[int, ...]]:
    """The shape of every variable of a backbone, whatever the size of an image."""
    image = jax.ShapeDtypeStruct((1, 32, 32, channels), np.float32)
    variables = jax.eval_shape(
        lambda images: backbone.init(jax.random.key(0), images, train=False), image
    )
    flat: dict[Any, Any] = traverse_util.flatten_dict(variables)
    return {name: leaf.shape for name, leaf in flat.items()}


def _check(
    path: str | Path, tensors: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]
) -> None:
    """Refuses tensors that are not those of the backbone."""
    differing = [
        f"{name} is {found}, not {shapes[name]}"
        for name, found in ((n, _channels_last(tensors[n]).shape) for n in shapes if n in tensors)
        if found != shapes[name]
    ]
    faults = {
        "missing": sorted(shapes.keys() - tensors.keys()),
        "surplus": sorted(tensors.keys() - shapes.keys()),
        "of another shape": differing,
    }
    listed = "; ".join(f"{what}: {_first(names)}" for what, names in faults.items() if names)
    if listed:
        raise UserError(
            f"{path}: is of another architecture; {listed}; build the backbone with the depth, "
            "width and stem of the file"
        )


def _first(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
