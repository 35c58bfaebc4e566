"""The networks of MODELS in PyTorch, as their packages build them: images to pooled features."""

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import timm
from torch import nn
from torchvision import models
from torchvision.models import resnet

from darkrank_jax.models import MODELS
from darkrank_jax.models.backbones.resnet import DEPTHS

# Name here -> timm's.
_TIMM = {
    "clip_vit_b16": "vit_base_patch16_clip_quickgelu_224",
    "clip_vit_b32": "vit_base_patch32_clip_quickgelu_224",
    "clip_vit_l14": "vit_large_patch14_clip_quickgelu_224",
    "convnext_base": "convnext_base",
    "convnext_large": "convnext_large",
    "convnext_small": "convnext_small",
    "convnext_tiny": "convnext_tiny",
    "convnextv2_base": "convnextv2_base",
    "convnextv2_large": "convnextv2_large",
    "convnextv2_tiny": "convnextv2_tiny",
    "deit_b16": "deit_base_distilled_patch16_224",
    "deit_s16": "deit_small_distilled_patch16_224",
    "deit_t16": "deit_tiny_distilled_patch16_224",
    "dinov2_b14": "vit_base_patch14_dinov2",
    "dinov2_l14": "vit_large_patch14_dinov2",
    "dinov2_s14": "vit_small_patch14_dinov2",
    "efficientnet_lite0": "efficientnet_lite0",
    "efficientnet_lite2": "efficientnet_lite2",
    "siglip_b16": "vit_base_patch16_siglip_224",
    "siglip_l16": "vit_large_patch16_siglip_256",
    "vit_b16": "vit_base_patch16_224",
    "vit_l16": "vit_large_patch16_224",
    "vit_s16": "vit_small_patch16_224",
    "vit_t16": "vit_tiny_patch16_224",
}
# The same under torchvision's name, and what a network of it is made with.
_TORCHVISION: dict[str, dict[str, Any]] = {
    **{f"efficientnet_b{size}": {"stochastic_depth_prob": 0.0} for size in range(5)},
    "mobilenet_v2": {},
    "mobilenet_v3_large": {},
    "mobilenet_v3_small": {},
}
# Numbers of an embedding that CLIP projects to.
_PROJECTED = {"clip_vit_b16": 512, "clip_vit_b32": 512, "clip_vit_l14": 768}
# Name here -> package, file in it, what makes the network.
_FILES = {
    "inception_bn": ("pretrainedmodels", "models/bninception.py", "BNInception"),
    **{
        f"osnet_x{width}": ("torchreid", "reid/models/osnet.py", f"osnet_x{width}")
        for width in ("0_25", "0_5", "0_75", "1_0")
    },
}


def peer(name: str, pixels: int) -> nn.Module | None:
    """The same network in PyTorch with random weights, without dropout and stochastic depth.

    Args:
      name: in MODELS.
      pixels: sides of the images.

    Returns:
      A module from images [batch, 3, h, w] to features [batch, channels]; None: no package that
      is known here has it.
    """
    made = _makers(pixels).get(name)
    return made() if made else None


def _makers(pixels: int) -> dict[str, Callable[[], nn.Module]]:
    """What makes each network."""
    found: dict[str, Callable[[], nn.Module]] = {}
    for name, (blocks, bottleneck) in DEPTHS.items():
        block = resnet.Bottleneck if bottleneck else resnet.BasicBlock
        found[name] = partial(_headless, partial(resnet.ResNet, block, list(blocks)), "fc")
    for name, options in _TORCHVISION.items():
        maker = partial(getattr(models, name), dropout=0.0, **options)
        found[name] = partial(_features, maker)
    for name, theirs in _TIMM.items():
        sized = {} if name.startswith(("convnext", "efficientnet")) else {"img_size": pixels}
        features = _PROJECTED.get(name, 0)
        found[name] = partial(timm.create_model, theirs, num_classes=features, **sized)
    for name, of_file in _FILES.items():
        found[name] = partial(_features, partial(_from_file, *of_file))
    assert found.keys() <= MODELS.keys()
    return found


class _Pooled(nn.Module):
    """The mean of a network's last map."""

    def __init__(self, network: nn.Module, method: str):
        super().__init__()
        self.network, self.method = network, method

    def forward(self, images: Any) -> Any:
        return getattr(self.network, self.method)(images).mean(dim=(2, 3))


def _features(maker: Callable[[], nn.Module]) -> nn.Module:
    """A network without its classifier, whose convolutions are a method or module of it."""
    network = maker()
    for head in ("classifier", "last_linear", "fc"):
        if hasattr(network, head):
            setattr(network, head, nn.Identity())
    return _Pooled(network, "featuremaps" if hasattr(network, "featuremaps") else "features")


def _headless(maker: Callable[[], nn.Module], head: str) -> nn.Module:
    """A network whose last layer does nothing."""
    network = maker()
    setattr(network, head, nn.Identity())
    return network


def _from_file(package: str, file: str, maker: str) -> nn.Module:
    """A network of a file that does not import what its package does."""
    spec = importlib.util.find_spec(package)
    assert spec, f"pip install --no-deps {package}"
    assert spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0], file)
    own = importlib.util.spec_from_file_location(path.stem, path)
    assert own
    assert own.loader
    module = importlib.util.module_from_spec(own)
    own.loader.exec_module(module)
    made = getattr(module, maker)
    return made() if isinstance(made, type) else made(pretrained=False)
