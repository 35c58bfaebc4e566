"""timm's names of MobileNets' and EfficientNet's variables; here they are torchvision's."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from darkrank_jax.errors import UserError
from darkrank_jax.models.backbones.mobilenet_v3 import Row
from darkrank_jax.models.weights.naming import TensorSource, Variable, dotted, whole
from darkrank_jax.models.weights.settings import read_settings

# Blocks of MobileNetV2's stages, which torchvision counts through.
_BLOCKS = (1, 2, 3, 4, 3, 3, 1)
_PLACES = [(stage, index) for stage, count in enumerate(_BLOCKS) for index in range(count)]
_STEM, _HEAD = ("conv_stem", "bn1"), ("conv_head", "bn2")
# Convolution and norm of each layer of a block: the first stage's do not expand.
_EXPANDING = (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3"))
_PLAIN = (("conv_dw", "bn1"), ("conv_pw", "bn2"))
_SQUEEZE = {"fc1": "se.conv_reduce", "fc2": "se.conv_expand"}


def mobilenet_v2_source(variable: Variable) -> TensorSource:
    """Where timm's file has a variable of MobileNetV2.

    Example:
      >>> mobilenet_v2_source(("params", "features.2", "conv.0.0", "kernel")).names
      ('blocks.1.0.conv_pw.weight',)
    """
    number, rest = _parts(variable)
    if number in (0, len(_PLACES) + 1):
        return _outside(number, rest)
    stage, index = _PLACES[number - 1]
    layers = _PLAIN if stage == 0 else _EXPANDING
    units = dict(zip(_mobilenet_v2_units(len(layers)), itertools.chain(*layers), strict=True))
    unit, leaf = rest.rsplit(".", 1)
    return whole(f"blocks.{stage}.{index}.{units[unit]}.{leaf}")


def mobilenet_v3_source(variable: Variable, *, rows: Sequence[Row]) -> TensorSource:
    """Where timm's file has a variable of MobileNetV3, whose blocks are rows of the paper's table.

    Example:
      >>> from darkrank_jax.models.backbones.mobilenet_v3 import SMALL
      >>> name = ("params", "features.4", "block.1", "1", "scale")
      >>> mobilenet_v3_source(name, rows=SMALL).names
      ('blocks.2.0.bn2.weight',)
    """
    number, rest = _parts(variable)
    if number == 0:
        return _outside(number, rest)
    # A stage's blocks have the same channels out.
    stages = [[*blocks] for _, blocks in itertools.groupby(rows, lambda row: row.features)]
    if number > len(rows):
        unit, leaf = rest.split(".")
        return whole(f"blocks.{len(stages)}.0.{('conv', 'bn1')[int(unit)]}.{leaf}")
    places = [(stage, index) for stage, blocks in enumerate(stages) for index in range(len(blocks))]
    stage, index = places[number - 1]
    return whole(f"blocks.{stage}.{index}.{_unit(rest, expands=number > 1, squeezes=True)}")


def efficientnet_source(variable: Variable, *, lite: bool) -> TensorSource:
    """Where timm's file has a variable of EfficientNet, or of EfficientNet-Lite.

    Example:
      >>> name = ("params", "features.2.1", "block.2", "fc1", "bias")
      >>> efficientnet_source(name, lite=False).names
      ('blocks.1.1.se.conv_reduce.bias',)
    """
    number, rest = _parts(variable)
    if number in (0, len(_BLOCKS) + 1):
        return _outside(number, rest)
    index, _, unit = rest.partition(".")
    name = _unit(unit, expands=number > 1, squeezes=not lite)
    return whole(f"blocks.{number - 1}.{index}.{name}")


def check_padding(path: str | Path) -> None:
    """Refuses the weights of a network that pads as TensorFlow does, by the JSON beside them."""
    architecture = read_settings(path).architecture or ""
    if architecture.startswith("tf_"):
        raise UserError(
            f"{path}: must be padded alike on all sides (got {architecture}, which pads as "
            f"TensorFlow does); give the weights of {architecture.removeprefix('tf_')}"
        )


def _parts(variable: Variable) -> tuple[int, str]:
    """The number of a variable's module in `features`, and what follows."""
    found = re.fullmatch(r"features\.(\d+)\.(.*)", dotted(variable))
    assert found, variable
    return int(found[1]), found[2]


def _unit(rest: str, *, expands: bool, squeezes: bool) -> str:
    """timm's name of what a block has under `block.LAYER.PART.LEAF`."""
    found = re.fullmatch(r"block\.(\d+)\.(\w+)\.(\w+)", rest)
    assert found, rest
    unit, part, leaf = int(found[1]), found[2], found[3]
    if part in _SQUEEZE:
        return f"{_SQUEEZE[part]}.{leaf}"
    layers = _EXPANDING if expands else _PLAIN
    # The squeeze, where there is one, stands before the last layer.
    layer = min(unit, len(layers) - 1) if squeezes else unit
    return f"{layers[layer][int(part)]}.{leaf}"


def _outside(number: int, rest: str) -> TensorSource:
    """A variable of the first layer, or of the last."""
    unit, leaf = rest.split(".")
    return whole(f"{(_HEAD if number else _STEM)[int(unit)]}.{leaf}")


def _mobilenet_v2_units(layers: int) -> list[str]:
    """torchvision's names of the convolution and the norm of each layer of a block."""
    *inner, last = range(layers)
    pairs = [f"conv.{layer}.{unit}" for layer in inner for unit in (0, 1)]
    return [*pairs, f"conv.{last}", f"conv.{last + 1}"]
