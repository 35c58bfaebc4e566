"""Whether the tensors of a weights file are those of a network, and which ResNet they are of."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from flax import linen as nn
from flax import traverse_util

from darkrank_jax.errors import UserError
from darkrank_jax.models.backbones.resnet import ResNet
from darkrank_jax.models.weights.files import first_of, read_header
from darkrank_jax.models.weights.match import Header, find_network, without
from darkrank_jax.models.weights.naming import Naming, Shape, TensorSource, Variable


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
    return resnet_of(path, without(read_header(path), ignore), prefix, stem)


def resnet_of(
    path: str | Path,
    header: Header,
    prefix: str | None,
    stem: Literal["strided", "small"] | None,
) -> ResNet:
    """The ResNet whose names a file has."""
    smallest: Any = ResNet((1, 1, 1, 1), False)
    match = find_network(path, header, smallest, torch_shapes(smallest, (32, 32, 3)), prefix)

    def kernel(*modules: str) -> Shape | None:
        (name,) = match.source(("params", *modules, "kernel")).names
        return header[name].shape if name in header else None

    def tensor(name: str) -> Shape:
        return header[match.prefix + name].shape if match.prefix + name in header else ()

    deep = len(tensor("conv1.0.weight")) == 4
    first = tensor("conv1.6.weight") if deep else kernel("conv1")
    if first is None or len(first) != 4 or not first[0]:
        missing = first_of(match.source(("params", "conv1", "kernel")).names)
        raise UserError(f"{path}: has no {missing}; give a ResNet whose stem is one convolution")
    blocks = []
    for stage in range(1, 5):
        found = (kernel(f"layer{stage}_{index}", "conv1") for index in itertools.count())
        blocks.append(sum(1 for _ in itertools.takewhile(lambda shape: shape is not None, found)))
    if first[-1] == 3 and stem is None and not deep:
        raise UserError(
            f"{path}: is ambiguous, since its 3x3 stem may be 'strided' or 'small', which have the "
            "same weights; give stem"
        )
    bottleneck, width, groups, inner = kernel("layer1_0", "conv3") is not None, first[0], 1, 0
    one, three = kernel("layer1_0", "conv1"), kernel("layer1_0", "conv2")
    if bottleneck and one and three and len(three) == 4 and three[1]:
        inner = one[0]
        groups = max(1, inner // three[1])
    return ResNet(
        tuple(blocks),
        bottleneck,
        width=width,
        stem="deep" if deep else stem if stem and first[-1] == 3 else "imagenet",
        groups=groups,
        group_width=64 * inner // (groups * width) if inner else 64,
        ibn=bool(tensor("layer1.0.bn1.IN.weight")),
        average_shortcut=len(tensor("layer2.0.downsample.1.weight")) == 4,
    )


def fitting_naming(path: str | Path, backbone: nn.Module, *, channels: int = 3) -> Naming | None:
    """The naming under which a file has a backbone whose variables fit any image, if it does.

    Args:
      path: as for `load_resnet`.
      backbone: the module.
      channels: of an image.
    """
    shapes = torch_shapes(backbone, (224, 224, channels))
    header = read_header(path)
    try:
        match = find_network(path, header, backbone, shapes, None)
        sources = {variable: match.source(variable) for variable in shapes}
        check_fit(path, backbone, match.header, expected_shapes(sources, shapes), match.prefix)
    except UserError:
        return None
    return match.naming


def check_options(path: str | Path, naming: Naming, backbone: nn.Module) -> None:
    """Refuses a backbone without the options that weights under a naming need."""
    for option, needed in naming.options.items():
        if (given := getattr(backbone, option)) != needed:
            raise UserError(
                f"{path}: was trained with {option} {needed}, as {naming.owner} names tell (got "
                f"{given}); set model.{option} to {needed}"
            )


def expected_shapes(
    sources: Mapping[Variable, TensorSource], shapes: Mapping[Variable, Shape]
) -> dict[str, Shape]:
    """The shape that each of a file's tensors must have, by name."""
    return {
        name: shape
        for variable, source in sources.items()
        for name, shape in zip(source.names, source.layout.shapes(shapes[variable]), strict=True)
    }


def check_fit(
    path: str | Path,
    backbone: nn.Module,
    among: Header,
    shapes: Mapping[str, Shape],
    prefix: str,
) -> None:
    """Refuses a file whose tensors are not those of a backbone.

    Args:
      path: of the file.
      backbone: the module.
      among: the file's tensors to account for.
      shapes: that the backbone expects of the file's tensors.
      prefix: of their names.
    """
    found = {name: among[name].shape for name in shapes if name in among}
    surplus = among.keys() - shapes.keys()
    faults = {
        "missing": shapes.keys() - found.keys(),
        "of another shape": [
            f"{name} is {shape}, not {shapes[name]}"
            for name, shape in found.items()
            if shape != shapes[name]
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
def torch_shapes(backbone: Any, image_shape: tuple[int, int, int]) -> dict[Variable, Shape]:
    """The shape of every variable of a backbone, with PyTorch's axes."""
    image = jax.ShapeDtypeStruct((1, *image_shape), np.float32)
    variables = jax.eval_shape(
        lambda images: backbone.init(jax.random.key(0), images, train=False), image
    )
    flat: dict[Any, Any] = traverse_util.flatten_dict(variables)
    return {
        name: tuple(leaf.shape[axis] for axis in torch_axes(leaf.ndim))
        for name, leaf in flat.items()
    }


def torch_axes(ndim: int) -> Sequence[int]:
    """The axes here in the order that PyTorch has them."""
    return {4: (3, 2, 0, 1), 2: (1, 0)}.get(ndim, range(ndim))
