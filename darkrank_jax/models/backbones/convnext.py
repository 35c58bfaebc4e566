"""ConvNeXt (Liu et al., CVPR 2022) and ConvNeXt V2 (Woo et al., CVPR 2023)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from darkrank_jax.models.convolution import general_convolution
from darkrank_jax.models.layers import Maps, gelu, product_of_rows

_init = nn.initializers.truncated_normal(0.02)


class ConvNeXt(nn.Module):
    """ConvNeXt without its classifier; modules are named as in torchvision.

    The norm between pooling and classifier is the classifier's. Stochastic depth belongs to the
    recipe for ImageNet and is left out.

    Attributes:
      blocks: in each stage.
      width: channels of the first stage; each further stage doubles them.
      response_norm: V2's norm of responses within a block, in place of a learnt scale after it.
      dtype: of the computation; parameters are float32.
    """

    blocks: tuple[int, ...]
    width: int = 96
    response_norm: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "batch h w channels"], train: bool) -> Maps:
        """Maps images to the outputs of the stem and of each stage, NHWC: 1/4, then 1/4 to 1/32."""
        x = images.astype(self.dtype)
        x = self._reduce(self.width, 4, "features.0.0")(x)
        maps = [_norm(self.dtype, "features.0.1")(x)]
        for stage, count in enumerate(self.blocks):
            x, place = maps[-1], 2 * stage
            if stage > 0:
                x = _norm(self.dtype, f"features.{place}.0")(x)
                x = self._reduce(self.width * 2**stage, 2, f"features.{place}.1")(x)
            for index in range(count):
                x = ConvNeXtBlock(
                    self.response_norm, self.dtype, name=f"features.{place + 1}.{index}"
                )(x)
            maps.append(x)
        return tuple(maps)

    def _reduce(self, features: int, factor: int, name: str) -> nn.Conv:
        """A convolution of squares that do not overlap."""
        squares = (factor, factor)
        return nn.Conv(
            features,
            squares,
            squares,
            padding=0,
            dtype=self.dtype,
            kernel_init=_init,
            conv_general_dilated=general_convolution,
            name=name,
        )


class ConvNeXtBlock(nn.Module):
    """7x7 convolution of each channel, norm, and two linear layers with GELU between, scaled."""

    response_norm: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [batch, h, w, c] to the same shape."""
        channels = x.shape[-1]
        y = nn.Conv(
            channels,
            (7, 7),
            padding=3,
            feature_group_count=channels,
            dtype=self.dtype,
            kernel_init=_init,
            conv_general_dilated=general_convolution,
            name="block.0",
        )(x)
        y = _norm(self.dtype, "block.2")(y)
        dense = functools.partial(
            nn.Dense, dtype=self.dtype, kernel_init=_init, dot_general=product_of_rows
        )
        y = dense(4 * channels, name="block.3")(y)
        y = self._normed(gelu(y)) if self.response_norm else gelu(y)
        y = dense(channels, name="block.5")(y)
        if self.response_norm:
            return x + y
        # Of torchvision's shape, which is that of its maps.
        scale = self.param("layer_scale", nn.initializers.constant(1e-6), (channels, 1, 1))
        return x + y * scale.reshape(1, 1, 1, channels).astype(self.dtype)

    def _normed(self, y: jax.Array) -> jax.Array:
        """Channels weighted by the length of each over the map, relative to their mean."""
        shape = (1, 1, 1, y.shape[-1])
        gamma, beta = (
            self.param(f"grn.{name}", nn.initializers.zeros, shape[-1:]).reshape(shape)
            for name in ("weight", "bias")
        )
        lengths = jnp.sqrt(jnp.sum(jnp.square(y.astype(jnp.float32)), axis=(1, 2), keepdims=True))
        relative = lengths / (lengths.mean(axis=-1, keepdims=True) + 1e-6)
        return (y + y * relative * gamma + beta).astype(y.dtype)


def _norm(dtype: Any, name: str) -> nn.LayerNorm:
    """A norm over the channels of each place."""
    return nn.LayerNorm(epsilon=1e-6, dtype=dtype, name=name)
