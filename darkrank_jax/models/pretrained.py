"""Weights that were trained elsewhere, from safetensors files."""

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from flax import linen as nn
from flax import traverse_util

from darkrank_jax.errors import UserError
from darkrank_jax.models.resnet import ResNet
from darkrank_jax.models.vit import can_resize, resize_positions
from darkrank_jax.models.weight_files import Entry, first_of, read_header, read_tensors
from darkrank_jax.models.weight_names import Variable, namings_of
from darkrank_jax.terminal import printable

Header = Mapping[str, Entry]

# First names of what turns pooled features into classes, and is left out.
_CLASSIFIERS = ("fc.", "classifier.", "head.", "last_linear.")


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
    header = _without(read_header(path), ignore)
    # Either 3x3 stem has the same variables.
    backbone = backbone or _detect(path, header, prefix, stem="small")
    return _load(path, header, backbone, (32, 32, channels), prefix, ignore)


def detect_resnet(
    path: str | Path,
    *,
    stem: Literal["strided", "small"] | None = None,
    prefix: str | None = None,
    ignore: Sequence[str] = (),
) -> ResNet:
    """The ResNet that a file holds the weights of: its blocks, width and stem.

    Args:
      path: a .safetensors file, as for `load_resnet`.
      stem: of a network with a 3x3 stem, since the two have the same weights.
      prefix: as for `load_resnet`.
      ignore: likewise.

    Returns:
      A backbone.

    Raises:
      UserError: it holds no ResNet, or one with a 3x3 stem and `stem` is not given.

    Example:
      >>> backbone = detect_resnet("tests/golden/resnet_bottleneck.safetensors")
      >>> backbone.blocks, backbone.bottleneck, backbone.width, backbone.stem
      ((3, 4, 2, 2), True, 8, 'imagenet')
    """
    return _detect(path, _without(read_header(path), ignore), prefix, stem)


def load_weights(
    path: str | Path,
    backbone: nn.Module,
    *,
    image_shape: tuple[int, int, int],
    prefix: str | None = None,
    ignore: Sequence[str] = (),
) -> dict[str, Any]:
    """Reads the weights of any backbone of MODELS.

    A ResNet's as `load_resnet`; the others' under the names that their modules have: torchvision's
    for MobileNet, EfficientNet and ConvNeXt, timm's for ViT, pretrainedmodels' for Inception-BN,
    torchreid's for OSNet. Position embeddings of a ViT are resized to the image, as timm does.

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
    header = _without(read_header(path), ignore)
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
    return next(iter(namings_of(backbone).values()))(variable)


def channels_last(tensor: np.ndarray) -> np.ndarray:
    """Kernels to (height, width, in, out) or (in, out), others as they are; float32."""
    return np.asarray(tensor, np.float32).transpose(*_axes_channels_last(tensor.ndim))


def channels_first(variable: np.ndarray) -> np.ndarray:
    """Kernels to PyTorch's (out, in, height, width) or (out, in), others as they are."""
    order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(variable.ndim, range(variable.ndim))
    return np.ascontiguousarray(variable.transpose(*order))


def _axes_channels_last(ndim: int) -> Sequence[int]:
    """The axes of PyTorch's tensor in the order that they have here."""
    return {4: (2, 3, 1, 0), 2: (1, 0)}.get(ndim, range(ndim))


def _without(header: Header, ignore: Sequence[str], prefix: str = "") -> Header:
    """A header without tensors whose names begin with one of `ignore`, also after a prefix."""
    ignored = tuple(f"{place}{first}" for place in {"", prefix} for first in ignore)
    return {name: entry for name, entry in header.items() if not name.startswith(ignored)}


def _load(
    path: str | Path,
    header: Header,
    backbone: nn.Module,
    image_shape: tuple[int, int, int],
    prefix: str | None,
    ignore: Sequence[str],
) -> dict[str, Any]:
    """The variables of a backbone from a file, read once all of them are found to fit."""
    shapes = _shapes(backbone, image_shape)
    naming, prefix, among = _find(path, header, backbone, shapes, prefix)
    among = _without(among, ignore, prefix)
    variables = {prefix + naming(variable): variable for variable in shapes}
    expected = {name: shapes[variable] for name, variable in variables.items()}
    _check_fit(path, backbone, among, expected, prefix)
    loaded: dict[Any, Any] = {}
    for name, tensor in read_tensors(path, {name: among[name] for name in variables}):
        variable = variables[name]
        if variable[-1] == "var" and (tensor < 0).any():
            raise UserError(
                f"{path}: variances must be at least 0 (got {tensor.min()} in {printable(name)}); "
                "the file is damaged, so copy it again"
            )
        tensor, shape = channels_last(tensor), shapes[variable]
        same = tensor.shape == shape
        loaded[variable] = tensor if same else resize_positions(tensor, shape[1], image_shape)
    return traverse_util.unflatten_dict(loaded)


def _check_fit(
    path: str | Path,
    backbone: nn.Module,
    among: Header,
    shapes: Mapping[str, tuple[int, ...]],
    prefix: str,
) -> None:
    """Refuses a file whose tensors are not those of a backbone.

    Args:
      path: of the file.
      backbone: the module.
      among: the file's tensors to account for.
      shapes: of the backbone's variables, by their names in the file.
      prefix: of these names.
    """
    given = {name: among[name].shape for name in shapes if name in among}
    found = {
        name: tuple(shape[axis] for axis in _axes_channels_last(len(shape)))
        for name, shape in given.items()
    }
    surplus = among.keys() - shapes.keys()
    faults = {
        "missing": shapes.keys() - found.keys(),
        "of another shape": [
            f"{name} is {shape}, not {shapes[name]}"
            for name, shape in found.items()
            if shape != shapes[name] and not can_resize(shape, shapes[name])
        ],
    }
    own, beside = ({_module(name, prefix) for name in names} for names in (shapes, surplus))
    if surplus and not any(faults.values()) and not own & beside:
        raise UserError(
            f"{path}: holds a whole {type(backbone).__name__}, and beside it {first_of(surplus)}; "
            f"to leave these out, set weights.ignore to {tuple(sorted(beside))}"
        )
    faults["surplus"] = surplus
    listed = "; ".join(f"{what}: {first_of(each)}" for what, each in faults.items() if each)
    if listed:
        raise UserError(
            f"{path}: is of another architecture; {listed}; build the backbone with the depth, "
            "width and stem of the file"
        )


def _module(name: str, prefix: str) -> str:
    """What a name begins with after a prefix, up to its first dot."""
    first, dot, _ = name.removeprefix(prefix).partition(".")
    return first + dot


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
    header: Header,
    backbone: nn.Module,
    variables: Iterable[Variable],
    prefix: str | None,
) -> tuple[Callable[[Variable], str], str, Header]:
    """How a file names a network: the naming, the prefix, and the tensors to account for."""
    namings = namings_of(backbone)
    counts = _count_names(header, namings, variables)
    everywhere = _most(counts)
    asked = {key: count for key, count in counts.items() if prefix in (None, key[1])}
    found = _most(asked)
    if not found:
        where = f" that begins with {prefix!r}" if prefix else ""
        raise UserError(
            f"{path}: holds no {type(backbone).__name__}: no tensor{where} has "
            f"{' or '.join(namings)} names; it has {first_of(header) or 'none'}"
        )
    if len(found) > 1:
        networks = " and ".join(f"{p!r} with {label} names" for label, p in found)
        raise UserError(
            f"{path}: is ambiguous, since it holds several networks: {networks}; give the prefix "
            "of one, leave the others out by weights.ignore, or give a file with one"
        )
    ((label, at),) = found
    # A copy that lies within the named network's place: "ema.", where the prefix is "".
    copies = [other for _, other in everywhere if other != at and other.startswith(at)]
    among = _without(header, (*_CLASSIFIERS, *copies), at)
    among = {
        name: entry
        for name, entry in among.items()
        if name.startswith(prefix or "") and not name.endswith("num_batches_tracked")
    }
    return namings[label], at, among


def _count_names(
    header: Header,
    namings: Mapping[str, Callable[[Variable], str]],
    variables: Iterable[Variable],
) -> dict[tuple[str, str], int]:
    """How many names of a network a file has, by whose names they are and by prefix."""
    counts: Counter[tuple[str, str]] = Counter()
    for label, naming in namings.items():
        expected = {naming(variable) for variable in variables}
        depths = {name.count(".") + 1 for name in expected}
        for name in header:
            parts = name.split(".")
            ends = {".".join(parts[-depth:]) for depth in depths} & expected
            counts.update((label, name.removesuffix(end)) for end in ends)
    return counts


def _most(counts: Mapping[tuple[str, str], int]) -> list[tuple[str, str]]:
    """The networks of a file: others may share some names, and another whole one shares most."""
    most = max(counts.values(), default=0)
    return sorted(key for key, count in counts.items() if count > most / 2)


def _detect(
    path: str | Path,
    header: Header,
    prefix: str | None,
    stem: Literal["strided", "small"] | None,
) -> ResNet:
    """The ResNet whose names a file has."""
    smallest: Any = ResNet((1, 1, 1, 1), False)
    naming, prefix, _ = _find(path, header, smallest, _shapes(smallest, (32, 32, 3)), prefix)

    def kernel(*modules: str) -> tuple[int, ...] | None:
        entry = header.get(prefix + naming(("params", *modules, "kernel")))
        return entry and entry.shape

    first = kernel("conv1")
    if first is None or len(first) != 4 or not first[0]:
        missing = printable(prefix + naming(("params", "conv1", "kernel")))
        raise UserError(f"{path}: has no {missing}; give a ResNet whose stem is one convolution")
    blocks = []
    for stage in range(1, 5):
        found = (kernel(f"layer{stage}_{index}", "conv1") for index in itertools.count())
        blocks.append(sum(1 for _ in itertools.takewhile(lambda shape: shape is not None, found)))
    if first[-1] == 3 and stem is None:
        raise UserError(
            f"{path}: is ambiguous, since its 3x3 stem may be 'strided' or 'small', which have the "
            "same weights; give stem"
        )
    return ResNet(
        tuple(blocks),
        kernel("layer1_0", "conv3") is not None,
        width=first[0],
        stem=stem if stem and first[-1] == 3 else "imagenet",
    )
