"""MobileNetV2 (Sandler et al., CVPR 2018): thin maps, joined by convolutions of single channels."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from darkrank_jax.models.convolution import batch_norm, conv, conv_then_norm
from darkrank_jax.models.layers import ConvNorm, Maps, make_divisible

# Expansion, channels out, blocks, stride of the first: table 2 of the paper.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class MobileNetV2(nn.Module):
    """MobileNetV2 without its classifier; modules are named as in torchvision.

    Attributes:
      width: factor on the channels, which are rounded to multiples of 8; the last convolution has
        1280 at least.
      dtype: of the computation; parameters and statistics are float32.
    """

    width: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "batch h w channels"], train: bool) -> Maps:
        """Maps images to the last map of each size, NHWC: 1/2, 1/4, 1/8, 1/16 and 1/32."""
        conv_norm = functools.partial(ConvNorm, activation=nn.relu6, dtype=self.dtype)
        x = images.astype(self.dtype)
        x = conv_norm(make_divisible(32 * self.width), 3, 2, name="features.0")(x, train)
        maps, number = [], 0
        for expansion, channels, blocks, first_stride in _STAGES:
            features = make_divisible(channels * self.width)
            for index in range(blocks):
                number += 1
                stride = first_stride if index == 0 else 1
                if stride == 2:
                    maps.append(x)
                block = LinearBottleneck(
                    expansion, features, stride, conv_norm, name=f"features.{number}"
                )
                x = block(x, train)
        last = make_divisible(1280 * max(1.0, self.width))
        return (*maps, conv_norm(last, 1, name=f"features.{number + 1}")(x, train))


class LinearBottleneck(nn.Module):
    """Expand, convolve each channel by itself, project without activation; a shortcut if it fits.

    Attributes:
      expansion: factor on the channels in; 1: nothing expands.
      features: channels out.
      stride: of the depthwise convolution.
      conv_norm: maker of `ConvNorm`.
    """

    expansion: int
    features: int
    stride: int
    conv_norm: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [batch, h, w, c] to [batch, h / stride, w / stride, features]."""
        expanded = self.expansion * x.shape[-1]
        expands = int(self.expansion > 1)
        y = self.conv_norm(expanded, 1, name="conv.0")(x, train) if expands else x
        depthwise = self.conv_norm(
            expanded, 3, self.stride, groups=expanded, name=f"conv.{expands}"
        )
        y = depthwise(y, train)
        project = conv(self.features, 1, dtype=depthwise.dtype, name=f"conv.{expands + 1}")
        norm = batch_norm(train, depthwise.dtype, f"conv.{expands + 2}")
        y = conv_then_norm(project, norm, y)
        return x + y if self.stride == 1 and x.shape == y.shape else y
