"""What the weights of a vision transformer need beyond names and shapes."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flax import linen as nn

from darkrank_jax.errors import UserError
from darkrank_jax.models.backbones.vit import ViT
from darkrank_jax.models.weights.match import Header, Match
from darkrank_jax.models.weights.naming import Variable
from darkrank_jax.models.weights.positions import find_layout, fit_positions
from darkrank_jax.models.weights.settings import read_settings
from darkrank_jax.terminal import printable

POSITIONS: Variable = ("params", "pos_embed")


def resizing(
    path: str | Path,
    among: Header,
    backbone: Any,
    image_shape: tuple[int, int, int],
    match: Match,
) -> Callable[[np.ndarray], np.ndarray]:
    """What resizes a file's position embeddings to a transformer's image."""
    (name,) = match.source(POSITIONS).names
    count, leading = among[name].shape[-2], backbone.leading
    grid = (image_shape[0] // backbone.patch, image_shape[1] // backbone.patch)
    known = _grid_beside(path, backbone.patch)
    held = {count, count - leading}
    layout = find_layout(
        count, leading, grid, known if known and math.prod(known) in held else None
    )
    if layout is None:
        raise UserError(
            f"{path}: {printable(name)} must be of a square of patches or of the image's {grid[0]} "
            f"x {grid[1]} (got {count} positions, of which {leading} of other tokens); give "
            "data.image_size the shape of the images that it was trained on"
        )
    return lambda tensor: fit_positions(tensor, layout, leading, grid, match.naming.resize)


def _grid_beside(path: str | Path, patch: int) -> tuple[int, int] | None:
    """Rows and columns of patches of the images in the settings beside a file."""
    size = read_settings(path).size
    return (size[0] // patch, size[1] // patch) if size else None


def check_activation(path: str | Path, backbone: nn.Module) -> None:
    """Refuses a transformer whose activation is not that of the settings beside its file."""
    settings = read_settings(path)
    own = getattr(backbone, "activation", None) if isinstance(backbone, ViT) else None
    if own and settings.activation and own != settings.activation:
        raise UserError(
            f"model.activation: must be {settings.activation!r} for {path}, as the files beside it "
            f"have it (got {own!r}); set it"
        )
