"""EfficientNet-B0 (Tan and Le, ICML 2019)."""

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from darkrank_jax.models.layers import (
    ConvNorm,
    InvertedResidual,
    Maps,
    SqueezeExcite,
    make_divisible,
)

# Expansion, kernel, stride of the first, channels out, blocks: table 1 of the paper.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class EfficientNet(nn.Module):
    """EfficientNet-B0 without its classifier; modules are named as in torchvision.

    Stochastic depth belongs to the recipe for ImageNet and is left out.

    Attributes:
      width: factor on the channels, which are rounded to multiples of 8.
      dtype: of the computation; parameters and statistics are float32.
    """

    width: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "batch h w channels"], train: bool) -> Maps:
        """Maps images to the last map of each size, NHWC: 1/2, 1/4, 1/8, 1/16 and 1/32."""
        conv_norm = functools.partial(ConvNorm, dtype=self.dtype)
        squeeze = functools.partial(
            SqueezeExcite, activation=nn.silu, gate=nn.sigmoid, dtype=self.dtype
        )
        swish = functools.partial(conv_norm, activation=nn.silu)
        x = images.astype(self.dtype)
        x = swish(make_divisible(32 * self.width), 3, 2, name="features.0")(x, train)
        maps = []
        for stage, (expansion, kernel, first_stride, channels, blocks) in enumerate(_STAGES):
            for index in range(blocks):
                stride = first_stride if index == 0 else 1
                if stride == 2:
                    maps.append(x)
                block = InvertedResidual(
                    make_divisible(expansion * x.shape[-1]),
                    make_divisible(channels * self.width),
                    kernel,
                    stride,
                    # A quarter of what comes in, not of what is expanded.
                    max(1, x.shape[-1] // 4),
                    nn.silu,
                    conv_norm,
                    squeeze,
                    name=f"features.{stage + 1}.{index}",
                )
                x = block(x, train)
        last = swish(4 * x.shape[-1], 1, name=f"features.{len(_STAGES) + 1}")
        return (*maps, last(x, train))
