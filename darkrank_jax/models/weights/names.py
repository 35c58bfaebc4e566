"""The names that a backbone's variables have in files of other projects."""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

from flax import linen as nn

from darkrank_jax.models.backbones.convnext import ConvNeXt
from darkrank_jax.models.backbones.efficientnet import EfficientNet
from darkrank_jax.models.backbones.mobilenet_v2 import MobileNetV2
from darkrank_jax.models.backbones.mobilenet_v3 import MobileNetV3
from darkrank_jax.models.backbones.resnet import ResNet
from darkrank_jax.models.backbones.vit import ViT
from darkrank_jax.models.weights.convnext_names import NAMINGS as CONVNEXT_NAMINGS
from darkrank_jax.models.weights.naming import (
    LEAVES,
    TORCHVISION,
    Naming,
    Variable,
    by_name,
    dotted,
)
from darkrank_jax.models.weights.timm_names import (
    efficientnet_source,
    mobilenet_v2_source,
    mobilenet_v3_source,
)
from darkrank_jax.models.weights.vit_names import NAMINGS as VIT_NAMINGS


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
    for kind in type(backbone).__mro__:
        if kind in NAMINGS:
            return NAMINGS[kind](backbone)
    return (Naming("the usual", by_name(dotted)),)


def _resnet_namings(backbone: ResNet) -> tuple[Naming, ...]:
    """Hugging Face has the plain ones alone."""
    places = _SHORTCUT_AFTER_AVERAGE if backbone.average_shortcut else _SHORTCUT
    places = places | (_DEEP_STEM if backbone.stem == "deep" else {})
    own = Naming("torchvision's or timm's", by_name(functools.partial(_torchvision_name, places)))
    other = Naming("Hugging Face's", by_name(_hugging_face_name))
    varied = backbone.ibn or backbone.average_shortcut or backbone.groups > 1
    return (own,) if varied or backbone.stem == "deep" else (own, other)


# Module -> its place in torchvision's and timm's sequences.
_SHORTCUT = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}
_SHORTCUT_AFTER_AVERAGE = {"downsample_conv": "downsample.1", "downsample_bn": "downsample.2"}
_DEEP_STEM = {
    "conv1": "conv1.6",
    **{f"stem_conv{index}": f"conv1.{3 * index}" for index in (0, 1)},
    **{f"stem_bn{index}": f"conv1.{3 * index + 1}" for index in (0, 1)},
}


def _torchvision_name(places: Mapping[str, str], variable: Variable) -> str:
    """("params", "layer1_0", "downsample_conv", "kernel") is layer1.0.downsample.0.weight there."""
    first, *rest = dotted(variable).split(".")
    if block := re.fullmatch(r"(layer\d)_(\d+)", first):
        # A block has a conv1 of its own.
        unit = places[rest[0]] if rest[0] in _SHORTCUT else rest[0]
        return ".".join([*block.groups(), unit, *rest[1:]])
    return ".".join([places.get(first, first), *rest])


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


def _efficientnet_namings(backbone: EfficientNet) -> tuple[Naming, ...]:
    source = functools.partial(efficientnet_source, lite=backbone.lite)
    return (TORCHVISION, Naming("timm's", source))


def _mobilenet_v3_namings(backbone: MobileNetV3) -> tuple[Naming, ...]:
    """timm's last convolution, behind the pooling, is its classifier's."""
    source = functools.partial(mobilenet_v3_source, rows=backbone.blocks)
    options = {"norm_epsilon": 1e-5}
    return (TORCHVISION, Naming("timm's", source, ("conv_head.",), options=options))


# Class of a backbone -> its namings, of which the first is written; of a backbone that is not here,
# a file has the modules' own names.
NAMINGS: dict[type, Callable[[Any], tuple[Naming, ...]]] = {
    ConvNeXt: lambda _: CONVNEXT_NAMINGS,
    EfficientNet: _efficientnet_namings,
    MobileNetV2: lambda _: (TORCHVISION, Naming("timm's", mobilenet_v2_source)),
    MobileNetV3: _mobilenet_v3_namings,
    ResNet: _resnet_namings,
    ViT: lambda _: VIT_NAMINGS,
}
