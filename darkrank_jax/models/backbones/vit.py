"""Vision transformers (Dosovitskiy et al., ICLR 2021); DeiT, DINOv2, CLIP and SigLIP as options."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from darkrank_jax.errors import UserError
from darkrank_jax.models.convolution import general_convolution
from darkrank_jax.models.layers import (
    Activation,
    Maps,
    gelu,
    gelu_tanh,
    product_of_rows,
    quick_gelu,
)

_HEAD = 64
_ACTIVATIONS: dict[str, Activation] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
}
_init = nn.initializers.truncated_normal(0.02)
_token_init = nn.initializers.normal(1e-6)


class ViT(nn.Module):
    """A vision transformer without its classifier; modules are named as in timm.

    Attributes:
      width: numbers of a token, a multiple of 64; each head has 64 of them.
      depth: blocks.
      patch: side of a patch in pixels; sides of an image are multiples of it.
      tokens: what is embedded: "class", the class token; "patch", the patch tokens, pooled;
        "attention", the patch tokens pooled by attention, as in SigLIP.
      registers: tokens beside the patches that are not embedded (DINOv2 with registers has 4).
      activation: in the blocks: "gelu", exact; "gelu_tanh", its approximation by tanh (SigLIP);
        "quick_gelu", x sigmoid(1.702 x) (OpenAI's CLIP).
      projection: numbers that a linear layer without bias makes of what is embedded; 0: no layer.
      class_token: whether there is a class token.
      distillation_token: whether DeiT's second token is there, which is not embedded.
      pre_norm: a norm before the blocks, and patches embedded without a bias, as in CLIP.
      layer_scale: a learnt factor for each channel of what a block adds, as in DINOv2.
      epsilon: of the norms.
      dtype: of the computation; parameters are float32.
    """

    width: int = 384
    depth: int = 12
    patch: int = 16
    tokens: Literal["class", "patch", "attention"] = "class"
    registers: int = 0
    activation: Literal["gelu", "gelu_tanh", "quick_gelu"] = "gelu"
    projection: int = 0
    class_token: bool = True
    distillation_token: bool = False
    pre_norm: bool = False
    layer_scale: bool = False
    epsilon: float = 1e-6
    dtype: Any = jnp.float32

    @property
    def leading(self) -> int:
        """Number of tokens that have a position embedding before those of the patches."""
        return self.class_token + self.distillation_token

    @nn.compact
    def __call__(self, images: Float[Array, "batch h w channels"], train: bool) -> Maps:
        """Maps images to maps [batch, h / patch, w / patch, width]: patches as embedded, and last.

        With tokens "class" or "attention" a third map [batch, 1, 1, width] follows, which any
        pooling leaves as it is. The last map is projected, if the network has a projection.
        """
        self._check(images)
        layer = _Layers(self.dtype, self.epsilon, _ACTIVATIONS[self.activation])
        squares = (self.patch, self.patch)
        embed = nn.Conv(
            self.width,
            squares,
            squares,
            padding=0,
            use_bias=not self.pre_norm,
            dtype=self.dtype,
            conv_general_dilated=general_convolution,
            name="patch_embed.proj",
        )
        patches = embed(images.astype(self.dtype))
        x = self._with_tokens(patches)
        if self.pre_norm:
            x = layer.norm("norm_pre")(x)
        for index in range(self.depth):
            x = TransformerBlock(layer, self.layer_scale, name=f"blocks.{index}")(x)
        x = layer.norm("norm")(x)
        last = x[:, self.leading + self.registers :]
        maps = [patches, last.reshape(patches.shape)]
        if self.tokens == "class":
            maps.append(x[:, :1, None])
        elif self.tokens == "attention":
            maps.append(AttentionPool(layer, name="attn_pool")(last)[:, :, None])
        if self.projection:
            project = nn.Dense(
                self.projection, use_bias=False, dtype=self.dtype, kernel_init=_init, name="head"
            )
            maps[-1] = project(maps[-1])
        return tuple(maps)

    def _with_tokens(self, patches: jax.Array) -> jax.Array:
        """Class token, distillation token, registers and patches, with position embeddings."""
        batch, height, width, dim = patches.shape

        def token(name: str, count: int = 1) -> jax.Array:
            values = self.param(name, _token_init, (1, count, dim))
            return jnp.broadcast_to(values.astype(self.dtype), (batch, count, dim))

        names = {"cls_token": self.class_token, "dist_token": self.distillation_token}
        first = [token(name) for name, present in names.items() if present]
        x = jnp.concatenate([*first, patches.reshape(batch, height * width, dim)], axis=1)
        x = x + self.param("pos_embed", _init, (1, *x.shape[1:])).astype(self.dtype)
        if not self.registers:
            return x
        registers = token("reg_token", self.registers)
        return jnp.concatenate([x[:, : len(first)], registers, x[:, len(first) :]], axis=1)

    def _check(self, images: jax.Array) -> None:
        """Refuses a width that heads do not divide, and images that patches do not tile."""
        if self.width % _HEAD:
            raise UserError(f"model.width: must be a multiple of {_HEAD} (got {self.width})")
        if self.registers < 0 or self.projection < 0:
            field = "registers" if self.registers < 0 else "projection"
            raise UserError(f"model.{field}: must be 0 or more (got {getattr(self, field)})")
        if self.tokens == "class" and not self.class_token:
            raise UserError(
                "model.tokens: must be 'attention' or 'patch' for a network without a class token "
                "(got 'class')"
            )
        height, width = images.shape[1:3]
        if height % self.patch or width % self.patch:
            raise UserError(
                f"data.image_size: must be a multiple of model.patch, {self.patch} (got {height} x "
                f"{width})"
            )


@dataclasses.dataclass(frozen=True)
class _Layers:
    """Makers of the layers that a transformer's parts have in common."""

    dtype: Any
    epsilon: float
    activation: Activation

    def norm(self, name: str) -> nn.LayerNorm:
        """A norm over the numbers of each token."""
        return nn.LayerNorm(epsilon=self.epsilon, dtype=self.dtype, name=name)

    def dense(self, features: int, name: str) -> nn.Dense:
        """A linear layer."""
        return nn.Dense(
            features,
            dtype=self.dtype,
            kernel_init=_init,
            dot_general=product_of_rows,
            name=name,
        )

    def mlp(self, x: jax.Array) -> jax.Array:
        """Two linear layers of each token, four times as wide between."""
        y = self.activation(self.dense(4 * x.shape[-1], "mlp.fc1")(x))
        return self.dense(x.shape[-1], "mlp.fc2")(y)


class TransformerBlock(nn.Module):
    """Attention among all tokens, then two linear layers; norms before each."""

    layer: _Layers
    layer_scale: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [batch, tokens, dim] to the same shape."""
        batch, tokens, dim = x.shape
        layer = self.layer
        qkv = layer.dense(3 * dim, "attn.qkv")(layer.norm("norm1")(x))
        heads = qkv.reshape(batch, tokens, 3, dim // _HEAD, _HEAD)
        y = jax.nn.dot_product_attention(heads[:, :, 0], heads[:, :, 1], heads[:, :, 2])
        x = x + self._scaled(layer.dense(dim, "attn.proj")(y.reshape(x.shape)), "ls1.gamma")
        return x + self._scaled(layer.mlp(layer.norm("norm2")(x)), "ls2.gamma")

    def _scaled(self, x: jax.Array, name: str) -> jax.Array:
        if not self.layer_scale:
            return x
        scale = self.param(name, nn.initializers.constant(1e-5), (x.shape[-1],))
        return x * scale.astype(x.dtype).reshape(1, 1, -1)


class AttentionPool(nn.Module):
    """One token of many: a learnt query attends to them, then norm and two linear layers."""

    layer: _Layers

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [batch, tokens, dim] to [batch, 1, dim]."""
        batch, tokens, dim = x.shape
        layer = self.layer
        latent = self.param("latent", _init, (1, 1, dim)).astype(x.dtype)
        query = layer.dense(dim, "q")(latent).reshape(1, 1, dim // _HEAD, _HEAD)
        query = jnp.broadcast_to(query, (batch, *query.shape[1:]))
        both = layer.dense(2 * dim, "kv")(x).reshape(batch, tokens, 2, dim // _HEAD, _HEAD)
        y = jax.nn.dot_product_attention(query, both[:, :, 0], both[:, :, 1])
        y = layer.dense(dim, "proj")(y.reshape(batch, 1, dim))
        return y + layer.mlp(layer.norm("norm")(y))
