"""ResNet weights from safetensors under torchvision's names; pickles are never opened."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError
from safetensors.numpy import load_file

from darkrank_jax.errors import UserError
from darkrank_jax.models.resnet import ResNet

# torchvision's last part of a name -> collection and name here.
_LEAVES = {
    "weight": {4: ("params", "kernel"), 1: ("params", "scale")},
    "bias": {1: ("params", "bias")},
    "running_mean": {1: ("batch_stats", "mean")},
    "running_var": {1: ("batch_stats", "var")},
}


def load_resnet(path: str | Path, backbone: ResNet, *, channels: int = 3) -> dict[str, Any]:
    """Reads a ResNet's weights; the classifier `fc` is left out.

    Args:
      path: a .safetensors file with torchvision's names.
      backbone: the ResNet that takes them, of the same depth and width.
      channels: of an image.

    Returns:
      {"params": ..., "batch_stats": ...} of the backbone.

    Raises:
      UserError: no such file, not safetensors, or names or shapes that differ; lists them.
    """
    try:
        tensors = load_file(path)
    except (FileNotFoundError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error})") from error
    found = _renamed(tensors)
    expected = _expected(backbone, channels)
    missing = sorted(expected.keys() - found.keys())
    surplus = sorted(found.keys() - expected.keys())
    shapes = [
        f"{'/'.join(name)} is {found[name].shape}, not {expected[name]}"
        for name in sorted(expected.keys() & found.keys())
        if found[name].shape != expected[name]
    ]
    faults = [
        f"{what}: {_first(names)}"
        for what, names in (
            ("missing", ["/".join(name) for name in missing]),
            ("surplus", ["/".join(name) for name in surplus]),
            ("of another shape", shapes),
        )
        if names
    ]
    if faults:
        raise UserError(f"{path}: is of another architecture; {'; '.join(faults)}")
    return traverse_util.unflatten_dict(found)


def _renamed(tensors: Mapping[str, np.ndarray]) -> dict[tuple[str, ...], np.ndarray]:
    """Tensors under this package's names, kernels as height, width, in, out."""
    renamed = {}
    for name, tensor in tensors.items():
        *modules, leaf = name.split(".")
        if modules[0] == "fc" or leaf == "num_batches_tracked":
            continue
        collection, own = _LEAVES.get(leaf, {}).get(tensor.ndim, ("params", leaf))
        module = re.sub(r"^(layer\d)/(\d+)", r"\1_\2", "/".join(modules))
        module = module.replace("downsample/0", "downsample_conv")
        module = module.replace("downsample/1", "downsample_bn")
        kernel = tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor
        renamed[(collection, *module.split("/"), own)] = kernel
    return renamed


def _expected(backbone: ResNet, channels: int) -> dict[tuple[str, ...], tuple[int, ...]]:
    """The shape of every variable of a backbone."""
    image = jax.ShapeDtypeStruct((1, 32, 32, channels), np.float32)
    variables = jax.eval_shape(
        lambda images: backbone.init(jax.random.key(0), images, train=False), image
    )
    flat: dict[Any, Any] = traverse_util.flatten_dict(variables)
    return {name: leaf.shape for name, leaf in flat.items()}


def _first(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
