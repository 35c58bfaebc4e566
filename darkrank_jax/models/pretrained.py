"""Weights that were trained elsewhere, from safetensors; pickles are never opened."""

import functools
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util
from safetensors import SafetensorError
from safetensors.flax import load_file

from darkrank_jax.errors import UserError
from darkrank_jax.models.resnet import ResNet

Variable = tuple[str, ...]
Tensors = Mapping[str, jax.Array]

# A variable's last name here -> PyTorch's; others, as "pos_embed", are the same.
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
# First names of what turns pooled features into classes, and is left out.
_CLASSIFIERS = ("fc.", "classifier.", "head.", "last_linear.")
_PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl")


def load_resnet(
    path: str | Path, backbone: ResNet | None = None, *, channels: int = 3, prefix: str = ""
) -> dict[str, Any]:
    """Reads a ResNet's weights under torchvision's, timm's or Hugging Face's names.

    The names are told apart by the file; torchvision and timm share theirs. The classifier and
    counts of batches are left out.

    Args:
      path: a .safetensors file; docs/pretrained.md makes one of a .pth file.
      backbone: the ResNet that takes them; None: that of the file, as `detect_resnet` gives it.
      channels: of an image.
      prefix: what the names of the network begin with, where the file holds others besides; empty:
        found in the file.

    Returns:
      {"params": ..., "batch_stats": ...} of the backbone, float32.

    Raises:
      UserError: no such file, a pickle, not safetensors, several networks in it, or names or shapes
        that differ; lists those missing and those left over.

    Example:
      >>> weights = "tests/golden/resnet_basic.safetensors"
      >>> backbone, variables = detect_resnet(weights), load_resnet(weights)
      >>> backbone.width, variables["params"]["layer2_0"]["conv1"]["kernel"].shape
      (8, (3, 3, 8, 16))
    """
    tensors = _read(path)
    # Either 3x3 stem has the same variables.
    backbone = backbone or _detect(path, tensors, prefix, stem="small")
    return _load(path, tensors, backbone, (32, 32, channels), prefix)


def detect_resnet(
    path: str | Path, *, stem: Literal["strided", "small"] | None = None, prefix: str = ""
) -> ResNet:
    """The ResNet that a file holds the weights of: its blocks, width and stem.

    Args:
      path: a .safetensors file, as for `load_resnet`.
      stem: of a network with a 3x3 stem, since the two have the same weights.
      prefix: as for `load_resnet`.

    Returns:
      A backbone.

    Raises:
      UserError: it holds no ResNet, or one with a 3x3 stem and `stem` is not given.

    Example:
      >>> backbone = detect_resnet("tests/golden/resnet_bottleneck.safetensors")
      >>> backbone.blocks, backbone.bottleneck, backbone.width, backbone.stem
      ((3, 4, 2, 2), True, 8, 'imagenet')
    """
    return _detect(path, _read(path), prefix, stem)


def load_weights(
    path: str | Path, backbone: nn.Module, *, image_shape: tuple[int, int, int], prefix: str = ""
) -> dict[str, Any]:
    """Reads the weights of any backbone of MODELS.

    A ResNet's as `load_resnet`; the others' under the names that their modules have: torchvision's
    for MobileNet, EfficientNet and ConvNeXt, timm's for ViT, pretrainedmodels' for Inception-BN,
    torchreid's for OSNet. Position embeddings of a ViT are resized to the image, as timm does.

    Args:
      path: a .safetensors file; docs/pretrained.md makes one of a .pth file.
      backbone: the module that takes them.
      image_shape: height, width and channels of an image.
      prefix: what the names of the network begin with, where the file holds others besides; empty:
        found in the file.

    Returns:
      The backbone's variables, float32.

    Raises:
      UserError: as `load_resnet`.
    """
    return _load(path, _read(path), backbone, image_shape, prefix)


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
    tensors = _read(path)
    weight = tensors.get(f"{name}.weight")
    if weight is None or weight.ndim != 2:
        found = [each for each, tensor in tensors.items() if tensor.ndim == 2]
        layers = [each.removesuffix(".weight") for each in found if each.endswith(".weight")]
        raise UserError(
            f"{path}: has no linear layer {name!r}; it has {_first(sorted(layers)) or 'none'}"
        )
    bias = tensors.get(f"{name}.bias", jnp.zeros(len(weight)))
    return {"kernel": np.asarray(weight.T, np.float32), "bias": np.asarray(bias, np.float32)}


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
    namings = _NAMINGS.get(type(backbone), {"the usual": _dotted_name})
    return next(iter(namings.values()))(variable)


def channels_last(tensor: jax.Array | np.ndarray) -> np.ndarray:
    """Kernels to (height, width, in, out) or (in, out), others as they are; float32."""
    order = {4: (2, 3, 1, 0), 2: (1, 0)}.get(tensor.ndim, range(tensor.ndim))
    return np.asarray(tensor, np.float32).transpose(*order)


def channels_first(variable: np.ndarray) -> np.ndarray:
    """Kernels to PyTorch's (out, in, height, width) or (out, in), others as they are."""
    order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(variable.ndim, range(variable.ndim))
    return np.ascontiguousarray(variable.transpose(*order))


def _read(path: str | Path) -> Tensors:
    """The tensors of a file by name."""
    if Path(path).suffix in _PICKLES:
        raise UserError(
            f"{path}: is a pickle, which can run any code and is not opened; "
            "docs/pretrained.md turns it into safetensors"
        )
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path}: cannot be read as safetensors ({error}); give such a file"
        ) from error


def _load(
    path: str | Path,
    tensors: Tensors,
    backbone: nn.Module,
    image_shape: tuple[int, int, int],
    prefix: str,
) -> dict[str, Any]:
    """The variables of a backbone from the tensors of a file."""
    shapes = _shapes(backbone, image_shape)
    naming, prefix, among = _find(path, tensors, backbone, shapes, prefix)
    names = {variable: prefix + naming(variable) for variable in shapes}
    loaded = {
        variable: _fitted(channels_last(among[name]), shapes[variable], image_shape)
        for variable, name in names.items()
        if name in among
    }
    faults = {
        "missing": sorted(names[variable] for variable in shapes.keys() - loaded.keys()),
        "surplus": sorted(among.keys() - set(names.values())),
        "of another shape": [
            f"{names[variable]} is {tensor.shape}, not {shapes[variable]}"
            for variable, tensor in loaded.items()
            if tensor.shape != shapes[variable]
        ],
    }
    listed = "; ".join(f"{what}: {_first(each)}" for what, each in faults.items() if each)
    if listed:
        raise UserError(
            f"{path}: is of another architecture; {listed}; build the backbone with the depth, "
            "width and stem of the file"
        )
    return traverse_util.unflatten_dict(loaded)


@functools.lru_cache(maxsize=8)
def _shapes(backbone: Any, image_shape: tuple[int, int, int]) -> dict[Variable, tuple[int, ...]]:
    """The shape of every variable of a backbone."""
    image = jax.ShapeDtypeStruct((1, *image_shape), np.float32)
    variables = jax.eval_shape(
        lambda images: backbone.init(jax.random.key(0), images, train=False), image
    )
    flat: dict[Any, Any] = traverse_util.flatten_dict(variables)
    return {name: leaf.shape for name, leaf in flat.items()}


def _find(
    path: str | Path,
    tensors: Tensors,
    backbone: nn.Module,
    variables: Iterable[Variable],
    prefix: str,
) -> tuple[Callable[[Variable], str], str, Tensors]:
    """How a file names a network: the naming, the prefix, and the tensors to account for."""
    namings = _NAMINGS.get(type(backbone), {"the usual": _dotted_name})
    among = {name: tensors[name] for name in tensors if name.startswith(prefix)}
    counts: Counter[tuple[str, str]] = Counter()
    for label, naming in namings.items():
        expected = {naming(variable) for variable in variables}
        for name in among:
            places = [0, *(match.end() for match in re.finditer(r"\.", name))]
            counts.update((label, name[:i]) for i in places if name[i:] in expected)
    if prefix:
        counts = Counter({key: count for key, count in counts.items() if key[1] == prefix})
    most = max(counts.values(), default=0)
    # A part of another network may share some names; another whole network shares most.
    found = sorted(key for key, count in counts.items() if count > most / 2)
    if not found:
        where = f" that begins with {prefix!r}" if prefix else ""
        raise UserError(
            f"{path}: holds no {type(backbone).__name__}: no tensor{where} has "
            f"{' or '.join(namings)} names; it has {_first(sorted(tensors)) or 'none'}"
        )
    if len(found) > 1:
        networks = " and ".join(f"{p!r} with {label} names" for label, p in found)
        raise UserError(
            f"{path}: is ambiguous, since it holds several networks: {networks}; give the prefix "
            "of one, or a file with one"
        )
    ((label, prefix_found),) = found
    left_out = tuple(f"{p}{first}" for p in {"", prefix_found} for first in _CLASSIFIERS)
    among = {
        name: tensor
        for name, tensor in among.items()
        if not name.startswith(left_out) and not name.endswith("num_batches_tracked")
    }
    return namings[label], prefix_found, among


def _detect(
    path: str | Path,
    tensors: Tensors,
    prefix: str,
    stem: Literal["strided", "small"] | None,
) -> ResNet:
    """The ResNet whose names a file has."""
    smallest: Any = ResNet((1, 1, 1, 1), False)
    naming, prefix, _ = _find(path, tensors, smallest, _shapes(smallest, (32, 32, 3)), prefix)

    def kernel(*modules: str) -> jax.Array | None:
        return tensors.get(prefix + naming(("params", *modules, "kernel")))

    first = kernel("conv1")
    if first is None:
        raise UserError(
            f"{path}: has no {prefix + naming(('params', 'conv1', 'kernel'))}; give a ResNet whose "
            "stem is one convolution"
        )
    blocks = []
    for stage in range(1, 5):
        found = (kernel(f"layer{stage}_{index}", "conv1") for index in itertools.count())
        blocks.append(sum(1 for _ in itertools.takewhile(lambda tensor: tensor is not None, found)))
    if first.shape[-1] == 3 and stem is None:
        raise UserError(
            f"{path}: is ambiguous, since its 3x3 stem may be 'strided' or 'small', which have the "
            "same weights; give stem"
        )
    return ResNet(
        tuple(blocks),
        kernel("layer1_0", "conv3") is not None,
        width=first.shape[0],
        stem=stem if stem and first.shape[-1] == 3 else "imagenet",
    )


def _dotted_name(variable: Variable) -> str:
    """("params", "features.0", "1", "scale") is features.0.1.weight there."""
    return ".".join([*variable[1:-1], _LEAVES.get(variable[-1], variable[-1])])


def _torchvision_name(variable: Variable) -> str:
    """("params", "layer1_0", "downsample_conv", "kernel") is layer1.0.downsample.0.weight there."""
    name = re.sub(r"^(layer\d)_", r"\1.", _dotted_name(variable))
    return name.replace("downsample_conv", "downsample.0").replace("downsample_bn", "downsample.1")


def _hugging_face_name(variable: Variable) -> str:
    """("params", "conv1", "kernel") is embedder.embedder.convolution.weight there.

    ("params", "layer1_0", "bn2", "bias") is encoder.stages.0.layers.0.layer.1.normalization.bias.
    """
    *block, unit = variable[1:-1]
    kind = "convolution" if "conv" in unit else "normalization"
    where = "embedder.embedder"
    if block:
        stage, index = block[0].removeprefix("layer").split("_")
        part = "shortcut" if "downsample" in unit else f"layer.{int(unit[-1]) - 1}"
        where = f"encoder.stages.{int(stage) - 1}.layers.{index}.{part}"
    return f"{where}.{kind}.{_LEAVES[variable[-1]]}"


# Backbone -> whose names a file may have; backbones that are not here keep their source's own.
_NAMINGS: dict[type, dict[str, Callable[[Variable], str]]] = {
    ResNet: {"torchvision's or timm's": _torchvision_name, "Hugging Face's": _hugging_face_name}
}


def _fitted(
    tensor: np.ndarray, shape: tuple[int, ...], image_shape: tuple[int, int, int]
) -> np.ndarray:
    """Position embeddings, the one kind of [1, places, dim], resized to an image's; others as is.

    Bicubic, the class token's left as it is.
    """
    if tensor.ndim != 3 or tensor.shape[::2] != shape[::2] or tensor.shape == shape:
        return tensor
    old, new = tensor.shape[1] - 1, shape[1] - 1
    side, high = math.isqrt(old), round(math.sqrt(new * image_shape[0] / image_shape[1]))
    grid = tensor[:, 1:].reshape(1, side, side, -1)
    resized = jax.image.resize(grid, (1, high, new // high, grid.shape[-1]), "bicubic")
    return np.concatenate([tensor[:, :1], np.asarray(resized).reshape(1, new, -1)], axis=1)


def _first(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
