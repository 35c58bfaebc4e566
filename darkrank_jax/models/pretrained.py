"""Weights that were trained elsewhere, from safetensors files."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax import linen as nn
from flax import traverse_util

from darkrank_jax.errors import UserError
from darkrank_jax.models.backbones.resnet import ResNet
from darkrank_jax.models.weights.description import describe_weights
from darkrank_jax.models.weights.files import first_of, read_header, read_tensors
from darkrank_jax.models.weights.fit import (
    check_fit,
    check_options,
    detect_resnet,
    expected_shapes,
    resnet_of,
    torch_axes,
    torch_shapes,
)
from darkrank_jax.models.weights.match import Header, find_network, without
from darkrank_jax.models.weights.names import namings_of
from darkrank_jax.models.weights.naming import Variable
from darkrank_jax.models.weights.timm_names import check_padding
from darkrank_jax.models.weights.vit import POSITIONS, check_activation, resizing
from darkrank_jax.terminal import printable

__all__ = [
    "Variable",
    "channels_first",
    "channels_last",
    "describe_weights",
    "detect_resnet",
    "load_linear",
    "load_norm",
    "load_resnet",
    "load_weights",
    "tensor_name",
]


def load_resnet(
    path: str | Path,
    backbone: ResNet | None = None,
    *,
    channels: int = 3,
    prefix: str | None = None,
    ignore: Sequence[str] = (),
) -> dict[str, Any]:
    """Reads a ResNet's weights under torchvision's, timm's or Hugging Face's names.

    The names are told apart by the file; torchvision and timm share theirs. The classifier and
    counts of batches are left out.

    Args:
      path: a .safetensors file; docs/pretrained.md makes one of a .pth file.
      backbone: the ResNet that takes them; None: that of the file, as `detect_resnet` gives it.
      channels: of an image.
      prefix: what the names of the network begin with, where the file holds others besides; "":
        nothing; None: found in the file.
      ignore: what the names of other tensors begin with, before or after the prefix: of a neck or a
        projector, ("bottleneck.", "projector."), or of a copy, ("ema.",).

    Returns:
      {"params": ..., "batch_stats": ...} of the backbone, float32.

    Raises:
      UserError: no such file, a pickle, not safetensors, several networks in it, integers, values
        that are not finite, or names or shapes that differ; lists those missing and those left
        over.

    Example:
      >>> weights = "tests/golden/resnet_basic.safetensors"
      >>> backbone, variables = detect_resnet(weights), load_resnet(weights)
      >>> backbone.width, variables["params"]["layer2_0"]["conv1"]["kernel"].shape
      (8, (3, 3, 8, 16))
    """
    header = without(read_header(path), ignore)
    # Either 3x3 stem has the same variables.
    backbone = backbone or resnet_of(path, header, prefix, stem="small")
    return _load(path, header, backbone, (32, 32, channels), prefix, ignore)


def load_weights(
    path: str | Path,
    backbone: nn.Module,
    *,
    image_shape: tuple[int, int, int],
    prefix: str | None = None,
    ignore: Sequence[str] = (),
) -> dict[str, Any]:
    """Reads the weights of any backbone of MODELS.

    A ResNet's as `load_resnet`; a ViT's under the names of timm, Hugging Face, OpenAI, open_clip,
    Meta or torchvision; the others' under the names that their modules have: torchvision's for
    MobileNet, EfficientNet and ConvNeXt, pretrainedmodels' for Inception-BN, torchreid's for OSNet.
    Position embeddings of a ViT are resized to the image, as the project does whose names it has.

    Args:
      path: a .safetensors file; docs/pretrained.md makes one of a .pth file.
      backbone: the module that takes them.
      image_shape: height, width and channels of an image.
      prefix: as for `load_resnet`.
      ignore: likewise.

    Returns:
      The backbone's variables, float32.

    Raises:
      UserError: as `load_resnet`.
    """
    header = without(read_header(path), ignore)
    return _load(path, header, backbone, image_shape, prefix, ignore)


def load_linear(path: str | Path, name: str) -> dict[str, np.ndarray]:
    """Reads a linear layer, such as the one that makes an embedding of pooled features.

    Args:
      path: a .safetensors file.
      name: of the layer in the file, "fc" for fc.weight and fc.bias.

    Returns:
      "kernel" [features, dim] and "bias" [dim], float32; a bias that is not there is 0.

    Raises:
      UserError: there is no such layer; names those that are there.
    """
    header, weight, bias = read_header(path), f"{name}.weight", f"{name}.bias"
    if weight not in header or len(header[weight].shape) != 2:
        found = [each for each, entry in header.items() if len(entry.shape) == 2]
        layers = [each.removesuffix(".weight") for each in found if each.endswith(".weight")]
        raise UserError(
            f"{path}: has no linear layer {name!r}; it has {first_of(layers) or 'none'}"
        )
    width = header[weight].shape[:1]
    if bias in header and header[bias].shape != width:
        raise UserError(
            f"{path}: {bias} must be of shape {width} (got {header[bias].shape}); give a whole file"
        )
    read = dict(
        read_tensors(path, {each: header[each] for each in (weight, bias) if each in header})
    )
    return {"kernel": read[weight].T, "bias": read.get(bias, np.zeros(width, np.float32))}


def load_norm(path: str | Path, name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Reads a batch norm, such as the neck of a network for re-identification.

    Args:
      path: a .safetensors file.
      name: of the norm in the file, "bottleneck" for bottleneck.weight and so on.

    Returns:
      Parameters "scale" and "bias" [dim], and statistics "mean" and "var" [dim], float32; a bias
      that is not there is 0.

    Raises:
      UserError: there is no such norm, names those that are there; or its parts do not fit.
    """
    header = read_header(path)
    leaves = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    names = {leaf: f"{name}.{end}" for leaf, end in leaves.items()}
    needed = [names[leaf] for leaf in leaves if leaf != "bias"]
    if missing := [each for each in needed if each not in header]:
        ends = ".running_mean"
        norms = [each.removesuffix(ends) for each in header if each.endswith(ends)]
        raise UserError(
            f"{path}: has no batch norm {name!r}, as {missing[0]} is missing; it has "
            f"{first_of(norms) or 'none'}"
        )
    width = header[names["scale"]].shape
    there = {leaf: each for leaf, each in names.items() if each in header}
    for each in there.values():
        if len(width) != 1 or header[each].shape != width:
            raise UserError(
                f"{path}: {each} must be of shape {width[:1]} (got {header[each].shape}); give a "
                "whole file"
            )
    read = dict(read_tensors(path, {each: header[each] for each in there.values()}))
    values = {leaf: read[each] for leaf, each in there.items()}
    if (values["var"] < 0).any():
        raise UserError(f"{path}: {names['var']} must be at least 0; copy the file again")
    params = {"scale": values["scale"], "bias": values.get("bias", np.zeros(width, np.float32))}
    return params, {"mean": values["mean"], "var": values["var"]}


def tensor_name(variable: Variable, backbone: nn.Module) -> str:
    """The name under which a file has a variable of a backbone, or of what stands on it.

    Args:
      variable: its names from the collection down, ("params", "conv1", "kernel").
      backbone: of the model.

    Returns:
      The name that `load_weights` looks for.

    Example:
      >>> tensor_name(("params", "layer2_0", "conv1", "kernel"), ResNet((1, 1, 1, 1), False))
      'layer2.0.conv1.weight'
    """
    return namings_of(backbone)[0].source(variable).names[0]


def channels_last(tensor: np.ndarray) -> np.ndarray:
    """Kernels to (height, width, in, out) or (in, out), others as they are; float32."""
    order = {4: (2, 3, 1, 0), 2: (1, 0)}.get(tensor.ndim, range(tensor.ndim))
    return np.asarray(tensor, np.float32).transpose(*order)


def channels_first(variable: np.ndarray) -> np.ndarray:
    """Kernels to PyTorch's (out, in, height, width) or (out, in), others as they are."""
    return np.ascontiguousarray(variable.transpose(*torch_axes(variable.ndim)))


def _load(
    path: str | Path,
    header: Header,
    backbone: nn.Module,
    image_shape: tuple[int, int, int],
    prefix: str | None,
    ignore: Sequence[str],
) -> dict[str, Any]:
    """The variables of a backbone from a file, read once all of them are found to fit."""
    shapes = torch_shapes(backbone, image_shape)
    match = find_network(path, header, backbone, shapes, prefix)
    among = without(match.header, ignore, match.prefix)
    sources = {variable: match.source(variable) for variable in shapes}
    expected = expected_shapes(sources, shapes)
    for name in sources[POSITIONS].names if POSITIONS in sources else ():
        if name in among and among[name].shape[-1:] == expected[name][-1:]:
            # Of any number: they are resized.
            expected[name] = among[name].shape
    check_fit(path, backbone, among, expected, match.prefix)
    check_activation(path, backbone)
    if match.naming.owner == "timm's":
        check_padding(path)
    check_options(path, match.naming, backbone)
    resize = resizing(path, among, backbone, image_shape, match) if POSITIONS in sources else None
    read: dict[str, np.ndarray] = {}
    unread = read_tensors(path, {name: among[name] for name in expected})
    loaded: dict[Any, Any] = {}
    for variable, source in sources.items():
        while not read.keys() >= set(source.names):
            read |= [next(unread)]
        tensor = channels_last(source.layout.join([read[name] for name in source.names]))
        if variable[-1] == "var" and (tensor < 0).any():
            raise UserError(
                f"{path}: variances must be at least 0 (got {tensor.min()} in "
                f"{first_of(source.names)}); the file is damaged, so copy it again"
            )
        loaded[variable] = resize(tensor) if resize and variable == POSITIONS else tensor
    return traverse_util.unflatten_dict(loaded)


def main(paths: Sequence[str]) -> int:
    """The command `python -m darkrank_jax.models.pretrained`: prints what each file is.

    Args:
      paths: of the files.

    Returns:
      The exit code; 2 if one of them cannot be told.
    """
    if not paths:
        print("usage: python -m darkrank_jax.models.pretrained FILE...", file=sys.stderr)
        return 2
    try:
        for path in paths:
            print(printable(f"{path}:"))
            for field, value in describe_weights(path).items():
                print(printable(f"  {field}: {value}"))
    except UserError as error:
        print(printable(str(error)), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
