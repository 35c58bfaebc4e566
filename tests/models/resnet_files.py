"""ResNets of a few channels in safetensors files."""

import re
from pathlib import Path

from darkrank_jax.models.backbones.resnet import ResNet

GOLDEN = Path(__file__).parent.parent / "golden"
ORIGINAL = GOLDEN / "resnet_basic.safetensors"
BASIC = ResNet((2, 2, 2, 2), False, width=8)


def hugging_face(name):
    """A name of torchvision's as transformers' ResNetModel has it."""
    for pattern, other in (
        (r"^(conv|bn)1\.", r"embedder.embedder.\1."),
        (
            r"^layer(\d)\.(\d+)\.downsample\.([01])\.",
            lambda m: f"encoder.stages.{int(m[1]) - 1}.layers.{m[2]}.shortcut.{'cb'[int(m[3])]}.",
        ),
        (
            r"^layer(\d)\.(\d+)\.(conv|bn)(\d)\.",
            lambda m: f"encoder.stages.{int(m[1]) - 1}.layers.{m[2]}.layer.{int(m[4]) - 1}.{m[3]}.",
        ),
        (r"\.(conv|c)\.", ".convolution."),
        (r"\.(bn|b)\.", ".normalization."),
        (r"^fc\.", "classifier.1."),
    ):
        name = re.sub(pattern, other, name)
    return name
