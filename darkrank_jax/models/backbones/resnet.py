"""Residual networks (He et al., CVPR 2016): one family, its depth, width and stem by options."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from darkrank_jax.models.convolution import batch_norm, conv, conv_then_norm
from darkrank_jax.models.layers import Maps
from darkrank_jax.models.pooling import centred, max_pool

Layer = Callable[..., jax.Array]
# Blocks in each stage, and whether they are bottlenecks.
DEPTHS: dict[str, tuple[tuple[int, ...], bool]] = {
    "resnet10": ((1, 1, 1, 1), False),
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}


class ResNet(nn.Module):
    """A residual network without its classifier.

    Attributes:
      blocks: residual blocks in each stage.
      bottleneck: blocks of 1x1, 3x3, 1x1 (four times the channels out), or of two 3x3.
      width: channels of the first stage; each further stage doubles them.
      stem: "imagenet" (7x7 by 2, then 3x3 maximum by 2; images of 96 pixels and more), "strided"
        (3x3 by 2; 28 to 96 pixels) or "small" (3x3 by 1; up to 32 pixels).
      dtype: of the computation; parameters and statistics are float32.

    Every padding is explicit, as PyTorch counts it, so that imported weights agree; strides sit in
    the 3x3 convolution, as in torchvision ("version 1.5").
    """

    blocks: tuple[int, ...]
    bottleneck: bool
    width: int = 64
    stem: Literal["imagenet", "strided", "small"] = "imagenet"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "batch h w channels"], train: bool) -> Maps:
        """Maps images to the outputs of the stem and of each stage, NHWC."""
        block = BottleneckBlock if self.bottleneck else BasicBlock
        maps = [self._stem(images.astype(self.dtype), train)]
        for stage, count in enumerate(self.blocks):
            x = maps[-1]
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                name = f"layer{stage + 1}_{index}"
                x = block(self.width * 2**stage, stride, self.dtype, name=name)(x, train)
            maps.append(x)
        return tuple(maps)

    def _stem(self, x: jax.Array, train: bool) -> jax.Array:
        """The first convolution and what reduces the image before the first stage."""
        kernel, stride = {"imagenet": (7, 2), "strided": (3, 2), "small": (3, 1)}[self.stem]
        layer = _maker(train, self.dtype)
        x = nn.relu(layer(x, self.width, kernel, stride, names=("conv1", "bn1")))
        return max_pool(x, centred) if self.stem == "imagenet" else x


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    features: int
    stride: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [batch, h, w, c] to [batch, h / stride, w / stride, features]."""
        layer = _maker(train, self.dtype)
        y = nn.relu(layer(x, self.features, 3, self.stride, names=("conv1", "bn1")))
        y = layer(y, self.features, 3, 1, names=("conv2", "bn2"))
        return nn.relu(_shortcut(x, self.features, self.stride, layer) + y)


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut."""

    features: int
    stride: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [batch, h, w, c] to [batch, h / stride, w / stride, 4 * features]."""
        layer = _maker(train, self.dtype)
        y = nn.relu(layer(x, self.features, 1, 1, names=("conv1", "bn1")))
        y = nn.relu(layer(y, self.features, 3, self.stride, names=("conv2", "bn2")))
        y = layer(y, 4 * self.features, 1, 1, names=("conv3", "bn3"))
        return nn.relu(_shortcut(x, 4 * self.features, self.stride, layer) + y)


def _maker(train: bool, dtype: Any) -> Layer:
    """What convolves and normalizes, by modules of the block that calls it."""

    def layer(
        x: jax.Array, features: int, kernel: int, stride: int, names: tuple[str, str]
    ) -> jax.Array:
        convolve = conv(features, kernel, stride, dtype=dtype, name=names[0])
        return conv_then_norm(convolve, batch_norm(train, dtype, names[1]), x)

    return layer


def _shortcut(x: jax.Array, features: int, stride: int, layer: Layer) -> jax.Array:
    """The input itself, or projected where the block changes its shape."""
    if stride == 1 and x.shape[-1] == features:
        return x
    return layer(x, features, 1, stride, names=("downsample_conv", "downsample_bn"))
