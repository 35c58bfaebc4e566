"""How a file names and lays out the variables of a backbone."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from darkrank_jax.models.weights.positions import Method

Variable = tuple[str, ...]
Shape = tuple[int, ...]

# A variable's last name here -> PyTorch's; others, as "pos_embed", are the same.
LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


class TensorLayout(NamedTuple):
    """How the values of a variable lie in a file's tensors.

    Attributes:
      shapes: of the file's tensors, from the shape of the variable with PyTorch's axes.
      join: the variable, with PyTorch's axes, from these tensors.
    """

    shapes: Callable[[Shape], Sequence[Shape]]
    join: Callable[[Sequence[np.ndarray]], np.ndarray]


class TensorSource(NamedTuple):
    """Where a file has the values of a variable.

    Attributes:
      names: of the file's tensors.
      layout: of the values in them.
    """

    names: tuple[str, ...]
    layout: TensorLayout


class Naming(NamedTuple):
    """The names of one project, or of one of its classes.

    Attributes:
      owner: whose names they are.
      source: from a variable here, its names from the collection down, to what a file has of it.
      beside: what the names of other parts of such a file begin with, which are left out.
      resize: how position embeddings are resized there.
      options: of the backbone that weights under these names need, though no tensor shows them.
    """

    owner: str
    source: Callable[[Variable], TensorSource]
    beside: tuple[str, ...] = ()
    resize: Method = "bicubic_antialias"
    options: Mapping[str, Any] = MappingProxyType({})


def whole(name: str) -> TensorSource:
    """One tensor that is the variable itself."""
    return TensorSource((name,), _WHOLE)


def stacked(*names: str) -> TensorSource:
    """Several tensors, one after the other: queries, keys and values."""
    count = len(names)
    return TensorSource(
        names, TensorLayout(lambda shape: [(shape[0] // count, *shape[1:])] * count, np.concatenate)
    )


def rows(name: str, first: int, last: int, parts: int) -> TensorSource:
    """Some of the equal parts of a tensor.

    Example:
      >>> source = rows("in_proj_weight", 1, 3, 3)
      >>> source.layout.shapes((8, 4)), source.layout.join([np.zeros((12, 4))]).shape
      ([(12, 4)], (8, 4))
    """

    def join(tensors: Sequence[np.ndarray]) -> np.ndarray:
        size = len(tensors[0]) // parts
        return tensors[0][first * size : last * size]

    held = last - first
    return TensorSource(
        (name,), TensorLayout(lambda shape: [(shape[0] // held * parts, *shape[1:])], join)
    )


def transposed(name: str) -> TensorSource:
    """A matrix with rows and columns the other way."""
    return TensorSource(
        (name,), TensorLayout(lambda shape: [shape[::-1]], lambda tensors: tensors[0].T)
    )


def vector(name: str) -> TensorSource:
    """A tensor without the two axes of length 1 that the variable begins with."""
    return TensorSource(
        (name,), TensorLayout(lambda shape: [shape[2:]], lambda tensors: tensors[0][None, None])
    )


def table(name: str) -> TensorSource:
    """A tensor without the axis of length 1 that the variable begins with."""
    return TensorSource(
        (name,), TensorLayout(lambda shape: [shape[1:]], lambda tensors: tensors[0][None])
    )


def last_axis(name: str, before: int = 0, after: int = 0) -> TensorSource:
    """A vector that has axes of length 1 before it in the file, or after it in the variable."""

    def shapes(shape: Shape) -> list[Shape]:
        return [(1,) * before + shape[:1]]

    def join(tensors: Sequence[np.ndarray]) -> np.ndarray:
        return tensors[0].reshape(-1, *(1,) * after)

    return TensorSource((name,), TensorLayout(shapes, join))


def flat_patches(name: str) -> TensorSource:
    """A convolution of square patches of 3 channels as a matrix over rows, columns, channels."""

    def shapes(shape: Shape) -> list[Shape]:
        return [(shape[0], int(np.prod(shape[1:])))] if len(shape) == 4 else [shape]

    def join(tensors: Sequence[np.ndarray]) -> np.ndarray:
        (tensor,) = tensors
        if tensor.ndim != 2:
            return tensor
        side = round((tensor.shape[1] / 3) ** 0.5)
        return tensor.reshape(len(tensor), side, side, 3).transpose(0, 3, 1, 2)

    return TensorSource((name,), TensorLayout(shapes, join))


def dotted(variable: Variable) -> str:
    """("params", "features.0", "1", "scale") is features.0.1.weight."""
    return ".".join([*variable[1:-1], LEAVES.get(variable[-1], variable[-1])])


def by_name(name: Callable[[Variable], str]) -> Callable[[Variable], TensorSource]:
    """The sources of names whose tensors are the variables themselves."""
    return lambda variable: whole(name(variable))


def by_table(
    names: Mapping[str, str | TensorSource],
    block: str,
    root: str = "",
    beside_root: Sequence[str] = (),
) -> Callable[[Variable], TensorSource]:
    """The sources of a network of equal blocks, from a table of its layers.

    Args:
      names: a layer's name here ("norm", and within a block "attn.qkv") -> its name in the file, or
        several; "weight" or "bias" follows after a dot, or in place of "{}". Or a tensor's name
        here ("cls_token", "head.weight") -> its name in the file. Others are the same there.
      block: of a block in the file; "{}" becomes its number.
      root: what the file's names begin with.
      beside_root: layers whose names do not.

    Example:
      >>> source = by_table({"attn.qkv": stacked("q", "k")}, "layer.{}")
      >>> source(("params", "blocks.3", "attn.qkv", "kernel")).names
      ('layer.3.q.weight', 'layer.3.k.weight')
    """

    def source(variable: Variable) -> TensorSource:
        *modules, last = variable[1:]
        place = ""
        if modules and modules[0].startswith("blocks."):
            place = block.format(modules.pop(0).removeprefix("blocks.")) + "."
        leaf = LEAVES.get(last)
        layer = ".".join(modules if leaf else [*modules, last])
        tensor = f"{layer}.{leaf}"
        entry = names.get(tensor, names.get(layer, layer))
        found = whole(entry) if isinstance(entry, str) else entry
        leaf = None if tensor in names else leaf
        first = "" if layer in beside_root else root
        full = tuple(f"{first}{place}{_with_leaf(name, leaf)}" for name in found.names)
        return found._replace(names=full)

    return source


def _with_leaf(name: str, leaf: str | None) -> str:
    """A layer's name with "weight" or "bias"; that of a tensor which is no layer's as it is."""
    if leaf is None:
        return name
    return name.format(leaf) if "{}" in name else f"{name}.{leaf}"


_WHOLE = TensorLayout(lambda shape: [shape], lambda tensors: tensors[0])


# Those of the modules here, which are named as torchvision's.
TORCHVISION = Naming("torchvision's", by_name(dotted))
