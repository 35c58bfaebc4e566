"""Embedding networks by name. The only place that names the architectures."""

import dataclasses
import functools
import typing
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from darkrank_jax.errors import UserError, nearest
from darkrank_jax.models.backbones import mobilenet_v3
from darkrank_jax.models.backbones.convnext import ConvNeXt
from darkrank_jax.models.backbones.efficientnet import EfficientNet
from darkrank_jax.models.backbones.inception_bn import InceptionBN
from darkrank_jax.models.backbones.mobilenet_v2 import MobileNetV2
from darkrank_jax.models.backbones.mobilenet_v3 import MobileNetV3
from darkrank_jax.models.backbones.nin_bn import NINBN
from darkrank_jax.models.backbones.osnet import OSNet
from darkrank_jax.models.backbones.resnet import DEPTHS, ResNet
from darkrank_jax.models.backbones.vit import ViT
from darkrank_jax.models.embedding import EmbeddingModel

__all__ = ["MODELS", "EmbeddingModel", "build_model", "compute_dtype", "model_options"]

_resnet50 = functools.partial(ResNet, *DEPTHS["resnet50"])
_convnext_v2 = functools.partial(ConvNeXt, response_norm=True)
_clip = functools.partial(ViT, activation="quick_gelu", pre_norm=True, epsilon=1e-5)
_siglip = functools.partial(ViT, tokens="attention", activation="gelu_tanh", class_token=False)

# Name -> maker of the backbone; its keyword arguments are options of a config's `model`.
MODELS: dict[str, Callable[..., nn.Module]] = {
    **{name: functools.partial(ResNet, *blocks) for name, blocks in DEPTHS.items()},
    "resnet50d": functools.partial(_resnet50, stem="deep", average_shortcut=True),
    "resnet50_ibn_a": functools.partial(_resnet50, ibn=True),
    "resnet101_ibn_a": functools.partial(ResNet, *DEPTHS["resnet101"], ibn=True),
    "resnext50_32x4d": functools.partial(_resnet50, groups=32, group_width=4),
    "resnext101_32x8d": functools.partial(ResNet, *DEPTHS["resnet101"], groups=32, group_width=8),
    "clip_vit_b16": functools.partial(_clip, width=768, projection=512),
    "clip_vit_b32": functools.partial(_clip, width=768, patch=32, projection=512),
    "clip_vit_l14": functools.partial(_clip, width=1024, depth=24, patch=14, projection=768),
    "convnext_base": functools.partial(ConvNeXt, (3, 3, 27, 3), width=128),
    "convnext_large": functools.partial(ConvNeXt, (3, 3, 27, 3), width=192),
    "convnext_small": functools.partial(ConvNeXt, (3, 3, 27, 3)),
    "convnext_tiny": functools.partial(ConvNeXt, (3, 3, 9, 3)),
    "convnextv2_base": functools.partial(_convnext_v2, (3, 3, 27, 3), width=128),
    "convnextv2_large": functools.partial(_convnext_v2, (3, 3, 27, 3), width=192),
    "convnextv2_tiny": functools.partial(_convnext_v2, (3, 3, 9, 3)),
    "deit_b16": functools.partial(ViT, width=768, distillation_token=True),
    "deit_s16": functools.partial(ViT, distillation_token=True),
    "deit_t16": functools.partial(ViT, width=192, distillation_token=True),
    "dinov2_b14": functools.partial(ViT, width=768, patch=14, layer_scale=True),
    "dinov2_l14": functools.partial(ViT, width=1024, depth=24, patch=14, layer_scale=True),
    "dinov2_s14": functools.partial(ViT, patch=14, layer_scale=True),
    "efficientnet_b0": EfficientNet,
    "efficientnet_b1": functools.partial(EfficientNet, depth=1.1),
    "efficientnet_b2": functools.partial(EfficientNet, width=1.1, depth=1.2),
    "efficientnet_b3": functools.partial(EfficientNet, width=1.2, depth=1.4),
    "efficientnet_b4": functools.partial(EfficientNet, width=1.4, depth=1.8),
    "efficientnet_lite0": functools.partial(EfficientNet, lite=True),
    "efficientnet_lite2": functools.partial(EfficientNet, width=1.1, depth=1.2, lite=True),
    "inception_bn": InceptionBN,
    "mobilenet_v2": MobileNetV2,
    "mobilenet_v3_large": functools.partial(MobileNetV3, mobilenet_v3.LARGE),
    "mobilenet_v3_small": functools.partial(MobileNetV3, mobilenet_v3.SMALL),
    "nin_bn": NINBN,
    "osnet_x0_25": functools.partial(OSNet, width=0.25),
    "osnet_x0_5": functools.partial(OSNet, width=0.5),
    "osnet_x0_75": functools.partial(OSNet, width=0.75),
    "osnet_x1_0": OSNet,
    "siglip_b16": functools.partial(_siglip, width=768),
    "siglip_l16": functools.partial(_siglip, width=1024, depth=24),
    "vit_b16": functools.partial(ViT, width=768),
    "vit_l16": functools.partial(ViT, width=1024, depth=24),
    "vit_s16": ViT,
    "vit_t16": functools.partial(ViT, width=192),
}

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
# Flax's own fields, and what the table fixes or the head takes from the backbone.
_FIXED = {"parent", "name", "backbone", "blocks", "bottleneck", "lite", "dtype"}
_FIXED |= {"class_token", "distillation_token", "pre_norm", "layer_scale", "epsilon"}
_FIXED |= {"response_norm", "groups", "group_width", "ibn", "average_shortcut"}


def model_options(name: str) -> dict[str, Any]:
    """The options of a model and their types: those of its backbone, of the head, and `dtype`.

    Args:
      name: in MODELS.

    Returns:
      Type by option.

    Raises:
      UserError: the name is unknown, and the nearest is named; its entry is not a module class.

    Example:
      >>> sorted(model_options("resnet18"))[:3]
      ['dtype', 'embedding_dim', 'head_batch_norm']
    """
    if name not in MODELS:
        raise UserError(f"unknown name {name!r}; {nearest(name, MODELS)}")
    _check_backbone(name)
    dtypes = {"dtype": typing.Literal["auto", "float32", "bfloat16"]}
    return {**_options(MODELS[name]), **_options(EmbeddingModel), **dtypes}


def build_model(name: str, *, dtype: str = "float32", **options: Any) -> EmbeddingModel:
    """Builds a backbone under an embedding head.

    Args:
      name: in MODELS.
      dtype: of the backbone's computation, "float32", "bfloat16" or "auto": bfloat16 on
        accelerators, float32 on a CPU.
      **options: of the backbone (`width`, `stem`) and the head (`embedding_dim`, `pooling`,
        `head_batch_norm`, `normalize`), see `model_options`.

    Returns:
      The model; initialise it with images [1, h, w, channels] and `train=False`.

    Raises:
      UserError: the name, an option or its value is unknown; names the nearest.

    Example:
      >>> import jax
      >>> model = build_model("resnet10", width=4, stem="small", embedding_dim=8)
      >>> images = jnp.zeros((2, 16, 16, 1))
      >>> outputs, _ = jax.eval_shape(
      ...     lambda: model.init_with_output(jax.random.key(0), images, train=False))
      >>> outputs["embeddings"].shape, outputs["features"].shape
      ((2, 8), (2, 32))
    """
    valid = model_options(name)
    for option, value in {**options, "dtype": dtype}.items():
        if option not in valid:
            raise UserError(f"model.{option}: unknown field; {nearest(option, valid)}")
        choices = typing.get_args(valid[option])
        if choices and value not in choices:
            raise UserError(
                f"model.{option}: must be one of {', '.join(map(str, choices))} (got {value!r})"
            )
    head = {option: options[option] for option in options if option in _options(EmbeddingModel)}
    backbone = {option: options[option] for option in options if option not in head}
    return EmbeddingModel(MODELS[name](**backbone, dtype=compute_dtype(dtype)), **head)


def compute_dtype(dtype: str) -> Any:
    """What a config's `model.dtype` means on this machine.

    Args:
      dtype: "float32", "bfloat16" or "auto".

    Returns:
      JAX's type.

    Example:
      >>> compute_dtype("bfloat16").dtype
      dtype(bfloat16)
    """
    if dtype == "auto":
        # A CPU computes half precision by way of the other.
        dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return _DTYPES[dtype]


def _check_backbone(name: str) -> None:
    """Refuses an entry of MODELS that `build_model` cannot make a backbone of."""
    maker = MODELS[name]
    module = maker.func if isinstance(maker, functools.partial) else maker
    if not (isinstance(module, type) and issubclass(module, nn.Module)):
        raise UserError(
            f"MODELS[{name!r}]: must be a Flax module class or a functools.partial of one (got "
            f"{module!r}); its fields are options of a config's model"
        )
    if "dtype" not in {field.name for field in dataclasses.fields(module)}:
        raise UserError(
            f"MODELS[{name!r}]: {module.__name__} must have a field dtype, the type of its "
            "computation; add `dtype: Any = jnp.float32`"
        )


def _options(maker: Any) -> Mapping[str, Any]:
    """Name and type of what a config may set on a module."""
    module: Any = maker.func if isinstance(maker, functools.partial) else maker
    hints = typing.get_type_hints(module)
    return {f.name: hints[f.name] for f in dataclasses.fields(module) if f.name not in _FIXED}
