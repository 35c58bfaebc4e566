"""Vision transformers (Dosovitskiy et al., ICLR 2021); ViT-S/16 as DeiT has it."""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from darkrank_jax.errors import UserError
from darkrank_jax.models.layers import Maps, gelu

_HEAD = 64
_init = nn.initializers.truncated_normal(0.02)


class ViT(nn.Module):
    """A vision transformer without its classifier; modules are named as in timm.

    Attributes:
      width: numbers of a token, a multiple of 64; each head has 64 of them.
      depth: blocks.
      patch: side of a patch in pixels; sides of an image are multiples of it.
      tokens: what is embedded: "class", the class token, or "patch", the patch tokens, pooled.
      dtype: of the computation; parameters are float32.
    """

    width: int = 384
    depth: int = 12
    patch: int = 16
    tokens: Literal["class", "patch"] = "class"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "batch h w channels"], train: bool) -> Maps:
        """Maps images to maps [batch, h / patch, w / patch, width]: patches as embedded, and last.

        With tokens "class" a third map [batch, 1, 1, width] follows: the class token, which any
        pooling leaves as it is.
        """
        self._check(images)
        squares = (self.patch, self.patch)
        embed = nn.Conv(
            self.width, squares, squares, padding=0, dtype=self.dtype, name="patch_embed.proj"
        )
        patches = embed(images.astype(self.dtype))
        batch, height, width, dim = patches.shape
        places = (1, 1 + height * width, dim)
        first = self.param("cls_token", nn.initializers.normal(1e-6), (1, 1, dim))
        positions = self.param("pos_embed", _init, places)
        first = jnp.broadcast_to(first.astype(self.dtype), (batch, 1, dim))
        x = jnp.concatenate([first, patches.reshape(batch, height * width, dim)], axis=1)
        x = x + positions.astype(self.dtype)
        for index in range(self.depth):
            x = Block(self.dtype, name=f"blocks.{index}")(x)
        x = _norm(self.dtype, "norm")(x)
        maps = (patches, x[:, 1:].reshape(patches.shape))
        return (*maps, x[:, :1, None]) if self.tokens == "class" else maps

    def _check(self, images: jax.Array) -> None:
        """Refuses a width that heads do not divide, and images that patches do not tile."""
        if self.width % _HEAD:
            raise UserError(f"model.width: is {self.width}; give a multiple of {_HEAD}")
        height, width = images.shape[1:3]
        if height % self.patch or width % self.patch:
            raise UserError(
                f"data.image_size: images of {height} x {width} pixels are no whole number of "
                f"patches of {self.patch} (model.patch); give a multiple of {self.patch}"
            )


class Block(nn.Module):
    """Attention among all tokens, then two linear layers with GELU between; norms before each."""

    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [batch, tokens, dim] to the same shape."""
        batch, tokens, dim = x.shape
        qkv = self._dense(3 * dim, "attn.qkv")(_norm(self.dtype, "norm1")(x))
        heads = qkv.reshape(batch, tokens, 3, dim // _HEAD, _HEAD)
        y = jax.nn.dot_product_attention(heads[:, :, 0], heads[:, :, 1], heads[:, :, 2])
        x = x + self._dense(dim, "attn.proj")(y.reshape(x.shape))
        y = self._dense(4 * dim, "mlp.fc1")(_norm(self.dtype, "norm2")(x))
        return x + self._dense(dim, "mlp.fc2")(gelu(y))

    def _dense(self, features: int, name: str) -> nn.Dense:
        return nn.Dense(features, dtype=self.dtype, kernel_init=_init, name=name)


def _norm(dtype: Any, name: str) -> nn.LayerNorm:
    """A norm over the numbers of each token."""
    return nn.LayerNorm(epsilon=1e-6, dtype=dtype, name=name)


def can_resize(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether position embeddings of one shape can be resized to another.

    Args:
      shape: of a tensor; [1, 1 + side^2, dim] can be resized.
      expected: of the embeddings of another image.
    """
    if len(shape) != 3 or len(expected) != 3 or min(shape[1], expected[1]) < 2:
        return False
    return shape[::2] == expected[::2] and math.isqrt(shape[1] - 1) ** 2 == shape[1] - 1


def resize_positions(
    positions: np.ndarray, number: int, image_shape: tuple[int, int, int]
) -> np.ndarray:
    """Position embeddings of a square image resized to another's, bicubic as in timm.

    Args:
      positions: [1, 1 + side^2, dim]; the first, of the class token, stays as it is.
      number: of positions of the other image.
      image_shape: its height, width and channels.

    Returns:
      [1, number, dim].
    """
    side = math.isqrt(positions.shape[1] - 1)
    rows = round(math.sqrt((number - 1) * image_shape[0] / image_shape[1]))
    grid = positions[:, 1:].reshape(1, side, side, -1)
    resized = jax.image.resize(grid, (1, rows, (number - 1) // rows, grid.shape[-1]), "bicubic")
    resized = np.asarray(resized).reshape(1, number - 1, -1)
    return np.concatenate([positions[:, :1], resized], axis=1)
