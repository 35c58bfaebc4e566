"""The names that a backbone's variables have in files of other projects."""

import re
from collections.abc import Callable, Mapping

from flax import linen as nn

from darkrank_jax.models.resnet import ResNet

Variable = tuple[str, ...]

# A variable's last name here -> PyTorch's; others, as "pos_embed", are the same.
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def namings_of(backbone: nn.Module) -> Mapping[str, Callable[[Variable], str]]:
    """The namings that a file of a backbone may have.

    Args:
      backbone: the module.

    Returns:
      Whose names -> the function from a variable here, its names from the collection down, to its
      name there; the first is written.

    Example:
      >>> namings = namings_of(ResNet((1, 1, 1, 1), False))
      >>> namings["torchvision's or timm's"](("params", "layer2_0", "conv1", "kernel"))
      'layer2.0.conv1.weight'
    """
    return _NAMINGS.get(type(backbone), {"the usual": _dotted_name})


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
