"""MobileNetV3 (Howard et al., ICCV 2019), large and small: searched blocks, hard activations."""

import functools
from typing import Any, NamedTuple

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


class Row(NamedTuple):
    """A block as the paper's tables have it; `hard` is hard swish rather than ReLU."""

    kernel: int
    expanded: int
    features: int
    squeezes: bool
    hard: bool
    stride: int


# Tables 1 and 2 of the paper.
LARGE = (
    Row(3, 16, 16, False, False, 1),
    Row(3, 64, 24, False, False, 2),
    Row(3, 72, 24, False, False, 1),
    Row(5, 72, 40, True, False, 2),
    Row(5, 120, 40, True, False, 1),
    Row(5, 120, 40, True, False, 1),
    Row(3, 240, 80, False, True, 2),
    Row(3, 200, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 480, 112, True, True, 1),
    Row(3, 672, 112, True, True, 1),
    Row(5, 672, 160, True, True, 2),
    Row(5, 960, 160, True, True, 1),
    Row(5, 960, 160, True, True, 1),
)
SMALL = (
    Row(3, 16, 16, True, False, 2),
    Row(3, 72, 24, False, False, 2),
    Row(3, 88, 24, False, False, 1),
    Row(5, 96, 40, True, True, 2),
    Row(5, 240, 40, True, True, 1),
    Row(5, 240, 40, True, True, 1),
    Row(5, 120, 48, True, True, 1),
    Row(5, 144, 48, True, True, 1),
    Row(5, 288, 96, True, True, 2),
    Row(5, 576, 96, True, True, 1),
    Row(5, 576, 96, True, True, 1),
)


class MobileNetV3(nn.Module):
    """MobileNetV3 without its classifier; modules are named as in torchvision.

    The two linear layers after the pooling are the classifier's.

    Attributes:
      blocks: LARGE or SMALL.
      width: factor on the channels, which are rounded to multiples of 8.
      norm_epsilon: added to the variance by batch norm: torchvision's 1e-3, or timm's 1e-5.
      dtype: of the computation; parameters and statistics are float32.
    """

    blocks: tuple[Row, ...]
    width: float = 1.0
    norm_epsilon: float = 1e-3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "batch h w channels"], train: bool) -> Maps:
        """Maps images to the last map of each size, NHWC: 1/2, 1/4, 1/8, 1/16 and 1/32."""
        # Norms of this architecture average over longer.
        conv_norm = functools.partial(
            ConvNorm, momentum=0.99, epsilon=self.norm_epsilon, dtype=self.dtype
        )
        squeeze = functools.partial(
            SqueezeExcite, activation=nn.relu, gate=nn.hard_sigmoid, dtype=self.dtype
        )
        hard = functools.partial(conv_norm, activation=nn.hard_swish)
        x = images.astype(self.dtype)
        x = hard(make_divisible(16 * self.width), 3, 2, name="features.0")(x, train)
        maps = []
        for index, row in enumerate(self.blocks):
            if row.stride == 2:
                maps.append(x)
            expanded = make_divisible(row.expanded * self.width)
            block = InvertedResidual(
                expanded,
                make_divisible(row.features * self.width),
                row.kernel,
                row.stride,
                make_divisible(expanded // 4) if row.squeezes else 0,
                nn.hard_swish if row.hard else nn.relu,
                conv_norm,
                squeeze,
                name=f"features.{index + 1}",
            )
            x = block(x, train)
        last = hard(6 * x.shape[-1], 1, name=f"features.{len(self.blocks) + 1}")
        return (*maps, last(x, train))
