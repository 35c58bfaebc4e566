"""What a file of weights is, told from the names and shapes of its tensors."""

import itertools
import math
from pathlib import Path
from typing import Any, NamedTuple

from darkrank_jax.errors import UserError
from darkrank_jax.models.backbones.vit import ViT
from darkrank_jax.models.weights.files import first_of, read_header
from darkrank_jax.models.weights.match import Header
from darkrank_jax.models.weights.names import namings_of
from darkrank_jax.models.weights.naming import Naming, Variable
from darkrank_jax.models.weights.positions import Grid
from darkrank_jax.models.weights.settings import Settings, read_settings


class TransformerFacts(NamedTuple):
    """What a file of a vision transformer is.

    Attributes:
      backbone: a module that takes its weights.
      names: whose names it has.
      prefix: what they begin with.
      grid: rows and columns of patches that its position embeddings are of; None: not a square.
      settings: of the images it was trained on, from the JSON files beside it.
    """

    backbone: ViT
    names: str
    prefix: str
    grid: Grid | None
    settings: Settings


def detect_vit(path: str | Path) -> TransformerFacts:
    """The vision transformer that a file holds the weights of.

    Args:
      path: of a .safetensors file, or of a folder as Hugging Face has it.

    Returns:
      Its facts; the activation is that of the JSON files beside it or, where they do not say, that
      of the published networks: OpenAI's for CLIP, and tanh's for attention pooling.

    Raises:
      UserError: it cannot be read, or holds no transformer.
    """
    header, settings = read_header(path), read_settings(path)
    found = [
        facts
        for naming in namings_of(ViT())
        for prefix in _prefixes(header, naming)
        if (facts := _read_facts(header, naming, prefix, settings))
    ]
    if not found:
        raise UserError(
            f"{path}: holds no vision transformer; it has {first_of(header) or 'no tensor'}"
        )

    def extent(facts: TransformerFacts) -> tuple[int, ...]:
        backbone = facts.backbone
        return backbone.depth, backbone.projection, backbone.registers

    # The deepest one, and of two readings the one that makes more of the file.
    return max(found, key=extent)


def _prefixes(header: Header, naming: Naming) -> list[str]:
    """What names may begin with, so that the file has a convolution of patches."""
    (name,) = naming.source(("params", "patch_embed.proj", "kernel")).names
    ends = [key for key in header if key == name or key.endswith(f".{name}")]
    return [key.removesuffix(name) for key in ends]


def _read_facts(
    header: Header, naming: Naming, prefix: str, settings: Settings
) -> TransformerFacts | None:
    """The facts of a network under a naming and a prefix; None: it is not one."""

    def shape(*names: str) -> tuple[int, ...] | None:
        variable: Variable = ("params", *names)
        entry = header.get(prefix + naming.source(variable).names[0])
        return entry.shape if entry else None

    patches, positions = shape("patch_embed.proj", "kernel"), shape("pos_embed")
    depths = (shape(f"blocks.{index}", "norm1", "scale") for index in itertools.count())
    depth = sum(1 for _ in itertools.takewhile(bool, depths))
    if not patches or len(patches) not in (2, 4) or not positions or not depth:
        return None
    pre_norm, pooled = bool(shape("norm_pre", "scale")), bool(shape("attn_pool", "latent"))
    registers, head = shape("reg_token"), shape("head", "kernel")
    has_class = bool(shape("cls_token"))
    projection = 0
    if pre_norm and head:
        # OpenAI's has its rows and columns the other way.
        projection = math.prod(head) // patches[0]
    backbone = ViT(
        width=patches[0],
        depth=depth,
        patch=patches[2] if len(patches) == 4 else math.isqrt(patches[1] // 3),
        tokens="attention" if pooled else "class" if has_class else "patch",
        registers=registers[-2] if registers else 0,
        activation=_activation(settings, pre_norm, pooled),
        projection=projection,
        class_token=has_class,
        distillation_token=bool(shape("dist_token")),
        pre_norm=pre_norm,
        layer_scale=bool(shape("blocks.0", "ls1.gamma")),
        epsilon=1e-5 if pre_norm else 1e-6,
    )
    grid = _square(positions[-2], backbone.leading)
    return TransformerFacts(backbone, naming.owner, prefix, grid, settings)


def _activation(settings: Settings, pre_norm: bool, pooled: bool) -> Any:
    if settings.activation:
        return settings.activation
    return "gelu_tanh" if pooled else "quick_gelu" if pre_norm else "gelu"


def _square(count: int, leading: int) -> Grid | None:
    """The square of position embeddings, with or without those of other tokens."""
    for held in (leading, 0):
        side = math.isqrt(max(count - held, 0))
        if side and side * side == count - held:
            return side, side
    return None
