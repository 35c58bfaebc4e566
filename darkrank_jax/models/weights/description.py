"""The entry of MODELS that a file holds the weights of, with its options."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from darkrank_jax.errors import UserError
from darkrank_jax.models import MODELS
from darkrank_jax.models.backbones.resnet import ResNet
from darkrank_jax.models.backbones.vit import ViT
from darkrank_jax.models.weights.facts import TransformerFacts, detect_vit
from darkrank_jax.models.weights.files import first_of, read_header
from darkrank_jax.models.weights.fit import detect_resnet, fitting_naming
from darkrank_jax.models.weights.settings import Settings, read_settings

_OPTIONS = ("width", "depth", "patch", "registers", "activation", "projection")
_FIXED = ("tokens", "class_token", "distillation_token", "pre_norm", "layer_scale")
_RESNET_FIXED = ("blocks", "bottleneck", "groups", "group_width", "ibn", "average_shortcut")
# The first convolution of an architecture -> beginnings of its names in MODELS.
_FIRST = {
    "conv_stem.weight": ("mobilenet", "efficientnet"),
    "features.0.0.weight": ("mobilenet", "efficientnet", "convnext"),
    "stem.0.weight": ("convnext",),
    "embeddings.patch_embeddings.weight": ("convnext",),
    "conv1_7x7_s2.weight": ("inception_bn",),
    "conv1.conv.weight": ("osnet",),
    "cccp1.weight": ("nin_bn",),
}


def describe_weights(path: str | Path) -> dict[str, Any]:
    """What a file of weights is.

    Args:
      path: of a .safetensors file, or of a folder as Hugging Face has it.

    Returns:
      "model", its name in MODELS, and "options", what differs from the defaults of that name;
      "parameters", numbers in the file; for a transformer "names", whose they are, "prefix" and
      "grid", rows and columns of patches that it was trained on. What the JSON files beside it say
      of its images: "image_size", "mean", "std", "interpolation".

    Raises:
      UserError: it cannot be read, or is none of MODELS.

    Example:
      >>> describe_weights("tests/golden/resnet_bottleneck.safetensors")["options"]
      {'width': 8, 'blocks': (3, 4, 2, 2)}
    """
    header = read_header(path)
    count = sum(math.prod(entry.shape) for entry in header.values())
    described = _transformer(path) or _resnet(path) or _other(path)
    if not described:
        raise UserError(
            f"{path}: holds none of the networks of MODELS under known names; it has "
            f"{first_of(header) or 'no tensor'}"
        )
    return {**described, "parameters": count, **_images(read_settings(path))}


def _transformer(path: str | Path) -> dict[str, Any] | None:
    try:
        facts = detect_vit(path)
    except UserError:
        return None
    name, options = _entry(facts)
    found = {"model": name, "options": options, "names": facts.names}
    return found | {"prefix": facts.prefix, "grid": facts.grid}


def _entry(facts: TransformerFacts) -> tuple[str, dict[str, Any]]:
    """The name in MODELS whose defaults are nearest, and the options that differ."""
    backbone = facts.backbone

    def differing(default: ViT, fields: tuple[str, ...]) -> dict[str, Any]:
        values = {field: getattr(backbone, field) for field in fields}
        return {f: value for f, value in values.items() if value != getattr(default, f)}

    entries: Iterator[tuple[str, Any]] = ((name, maker()) for name, maker in MODELS.items())
    near = {name: each for name, each in entries if isinstance(each, ViT)}
    ranked = sorted(
        near, key=lambda n: (len(differing(near[n], _FIXED)), len(differing(near[n], _OPTIONS)), n)
    )
    return ranked[0], differing(near[ranked[0]], (*_OPTIONS, *_FIXED))


def _resnet(path: str | Path) -> dict[str, Any] | None:
    try:
        found = detect_resnet(path, stem="small")
    except UserError:
        return None
    entries = {name: maker() for name, maker in MODELS.items()}
    known = {name: each for name, each in entries.items() if isinstance(each, ResNet)}
    alike = [
        name
        for name, each in known.items()
        if all(getattr(each, field) == getattr(found, field) for field in _RESNET_FIXED)
    ]
    options: dict[str, Any] = {} if found.width == 64 else {"width": found.width}
    if found.stem == "small":
        options["stem"] = "small or strided"
    if not alike:
        options["blocks"] = found.blocks
    return {"model": alike[0] if alike else "a ResNet", "options": options}


def _other(path: str | Path) -> dict[str, Any] | None:
    """An architecture of fixed depth that takes all of the file's names and shapes."""
    header = read_header(path)
    families = [
        family
        for first, families in _FIRST.items()
        if any(name == first or name.endswith(f".{first}") for name in header)
        for family in families
    ]
    for name, maker in MODELS.items():
        if families and name.startswith(tuple(families)):
            naming = fitting_naming(path, maker())
            if naming:
                return {"model": name, "options": dict(naming.options)}
    return None


def _images(settings: Settings) -> dict[str, Any]:
    """What settings say of images."""
    found = {
        "image_size": settings.size,
        "mean": settings.mean,
        "std": settings.std,
        "interpolation": settings.interpolation,
    }
    return {name: value for name, value in found.items() if value is not None}
