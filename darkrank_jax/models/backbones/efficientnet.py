"""EfficientNet (Tan and Le, ICML 2019) and EfficientNet-Lite (Google, 2020)."""

import functools
import math
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
    """EfficientNet without its classifier; modules are named as in torchvision.

    The Lite networks have ReLU6 for swish and no squeeze-and-excitation, so that int8 serves them,
    and neither their stem and head nor the length of their first and last stage is scaled.

    Stochastic depth belongs to the recipe for ImageNet and is left out.

    Attributes:
      width: factor on the channels, which are rounded to multiples of 8.
      depth: factor on the number of blocks of each stage, rounded up.
      lite: whether it is an EfficientNet-Lite.
      dtype: of the computation; parameters and statistics are float32.
    """

    width: float = 1.0
    depth: float = 1.0
    lite: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "batch h w channels"], train: bool) -> Maps:
        """Maps images to the last map of each size, NHWC: 1/2, 1/4, 1/8, 1/16 and 1/32."""
        activation = nn.relu6 if self.lite else nn.silu
        plain = functools.partial(ConvNorm, dtype=self.dtype)
        squeeze = functools.partial(
            SqueezeExcite, activation=nn.silu, gate=nn.sigmoid, dtype=self.dtype
        )
        conv_norm = functools.partial(plain, activation=activation)
        x = images.astype(self.dtype)
        stem = 32 if self.lite else make_divisible(32 * self.width)
        x = conv_norm(stem, 3, 2, name="features.0")(x, train)
        maps = []
        for stage, (expansion, kernel, first_stride, channels, _) in enumerate(_STAGES):
            for index in range(self._blocks(stage)):
                stride = first_stride if index == 0 else 1
                if stride == 2:
                    maps.append(x)
                block = InvertedResidual(
                    make_divisible(expansion * x.shape[-1]),
                    make_divisible(channels * self.width),
                    kernel,
                    stride,
                    # A quarter of what comes in, not of what is expanded.
                    0 if self.lite else max(1, x.shape[-1] // 4),
                    activation,
                    plain,
                    squeeze,
                    name=f"features.{stage + 1}.{index}",
                )
                x = block(x, train)
        head = 1280 if self.lite else 4 * x.shape[-1]
        last = conv_norm(head, 1, name=f"features.{len(_STAGES) + 1}")
        return (*maps, last(x, train))

    def _blocks(self, stage: int) -> int:
        """How many blocks a stage has."""
        blocks = _STAGES[stage][-1]
        fixed = self.lite and stage in (0, len(_STAGES) - 1)
        return blocks if fixed else math.ceil(blocks * self.depth)
