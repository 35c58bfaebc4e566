"""How deep each part of a backbone lies below the embedding, counted in blocks."""

import re
from collections.abc import Callable, Iterable

from flax import linen as nn

from darkrank_jax.errors import UserError
from darkrank_jax.models.backbones.convnext import ConvNeXt
from darkrank_jax.models.backbones.efficientnet import EfficientNet
from darkrank_jax.models.backbones.inception_bn import InceptionBN
from darkrank_jax.models.backbones.mobilenet_v2 import MobileNetV2
from darkrank_jax.models.backbones.mobilenet_v3 import MobileNetV3
from darkrank_jax.models.backbones.nin_bn import NINBN
from darkrank_jax.models.backbones.osnet import OSNet
from darkrank_jax.models.backbones.resnet import ResNet
from darkrank_jax.models.backbones.vit import ViT

# Backbone -> beginnings of the names of its modules and parameters, from the images to the
# embedding. Names of one pattern with the same groups are one block; groups count upwards.
BLOCKS: dict[type[nn.Module], tuple[str, ...]] = {
    # Odd places hold a stage's blocks, each one of its own; even ones are what reduces the map.
    ConvNeXt: (r"features\.(\d)(?:(?<=[1357])\.(\d+))?",),
    EfficientNet: (r"features\.(\d)(?:\.(\d+))?",),
    InceptionBN: (r"(?:conv|inception_)(\d)([a-e]?)",),
    MobileNetV2: (r"features\.(\d+)",),
    MobileNetV3: (r"features\.(\d+)",),
    NINBN: (
        r"conv1$|cccp[12]$|bn_[123]$",
        r"conv2$|cccp[34]$|bn_[456]$",
        r"conv3$|cccp[56]$|bn_[789]$",
        r"conv4_|cccp[78]_|bn_1[012]$",
    ),
    OSNet: (r"conv(\d)(?:\.(\d))?",),
    ResNet: (r"stem_|conv1$|bn1$", r"layer(\d)_(\d+)$"),
    ViT: (r"patch_embed|pos_embed$|\w+_token$|norm_pre$", r"blocks\.(\d+)$"),
}
# A transformer's norm, pooling and projection count to its last block.
_WITH_LAST = ("norm", "attn_pool", "head")

# Where a name stands: its pattern, and the groups of it, ordered as numbers are.
_Place = tuple[int, tuple[tuple[int, str], ...]]


def depths_of(backbone: nn.Module) -> Callable[[Iterable[str]], dict[str, int]]:
    """A function from the names in a backbone to their depths.

    Args:
      backbone: of MODELS.

    Returns:
      `depths(names)`, for the names of all modules and parameters at the top of the backbone's
      parameters: the depth of each. It is 1 for the last block and grows by 1 for each block before
      it; what comes before the first block is one more. (The embedding head has 0.)

    Raises:
      UserError: the blocks of the backbone are in no table.

    Example:
      >>> depths_of(ResNet((1, 1), False))(["conv1", "bn1", "layer1_0", "layer2_0"])
      {'conv1': 3, 'bn1': 3, 'layer1_0': 2, 'layer2_0': 1}
    """
    if type(backbone) not in BLOCKS:
        raise UserError(
            f"layer_decay: must be 1 for the backbone {type(backbone).__name__}, whose blocks are "
            "not known; add their names to darkrank_jax.models.depths.BLOCKS"
        )
    patterns = BLOCKS[type(backbone)]

    def depths(names: Iterable[str]) -> dict[str, int]:
        places = {name: _place(name, patterns) for name in names if name not in _WITH_LAST}
        upwards = sorted(set(places.values()), reverse=True)
        depth = {place: number for number, place in enumerate(upwards, start=1)}
        return {name: depth[places[name]] if name in places else 1 for name in names}

    return depths


def _place(name: str, patterns: Iterable[str]) -> _Place:
    """Where a module stands in a backbone."""
    for number, pattern in enumerate(patterns):
        if found := re.match(pattern, name):
            # Shorter first, as numbers without leading zeros are ordered.
            return number, tuple((len(group), group) for group in found.groups(""))
    raise UserError(
        f"layer_decay: must be 1 for a backbone whose {name!r} is in no block; add it to "
        "darkrank_jax.models.depths.BLOCKS"
    )
