"""The names that a backbone's variables have in files of other projects."""

import re

from flax import linen as nn

from darkrank_jax.models.backbones.convnext import ConvNeXt
from darkrank_jax.models.backbones.resnet import ResNet
from darkrank_jax.models.backbones.vit import ViT
from darkrank_jax.models.convnext_names import NAMINGS as CONVNEXT_NAMINGS
from darkrank_jax.models.naming import LEAVES, Naming, Variable, by_name, dotted
from darkrank_jax.models.vit_names import NAMINGS as VIT_NAMINGS


def namings_of(backbone: nn.Module) -> tuple[Naming, ...]:
    """The namings that a file of a backbone may have.

    Args:
      backbone: the module.

    Returns:
      The namings; the first is written.

    Example:
      >>> first, *_ = namings_of(ResNet((1, 1, 1, 1), False))
      >>> first.source(("params", "layer2_0", "conv1", "kernel")).names
      ('layer2.0.conv1.weight',)
    """
    return _NAMINGS.get(type(backbone), (Naming("the usual", by_name(dotted)),))


def _torchvision_name(variable: Variable) -> str:
    """("params", "layer1_0", "downsample_conv", "kernel") is layer1.0.downsample.0.weight there."""
    name = re.sub(r"^(layer\d)_", r"\1.", dotted(variable))
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
    return f"{where}.{kind}.{LEAVES[variable[-1]]}"


# Backbone -> whose names a file may have; backbones that are not here keep their source's own.
_NAMINGS: dict[type, tuple[Naming, ...]] = {
    ResNet: (
        Naming("torchvision's or timm's", by_name(_torchvision_name)),
        Naming("Hugging Face's", by_name(_hugging_face_name)),
    ),
    ConvNeXt: CONVNEXT_NAMINGS,
    ViT: VIT_NAMINGS,
}
