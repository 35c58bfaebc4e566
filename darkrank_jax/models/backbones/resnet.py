"""Residual networks (He et al., CVPR 2016): one family, its depth, width and stem by options."""

import functools
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


# Kernel and stride of the convolution that every stem has.
STEMS = {"imagenet": (7, 2), "deep": (3, 1), "strided": (3, 2), "small": (3, 1)}


class ResNet(nn.Module):
    """A residual network without its classifier.

    Attributes:
      blocks: residual blocks in each stage.
      bottleneck: blocks of 1x1, 3x3, 1x1 (four times the channels out), or of two 3x3.
      width: channels of the first stage; each further stage doubles them.
      stem: "imagenet" (7x7 by 2, then 3x3 maximum by 2; images of 96 pixels and more), "deep"
        (three of 3x3 instead of the 7x7), "strided" (3x3 by 2; 28 to 96 pixels) or "small" (3x3 by
        1; up to 32 pixels).
      last_stride: of the last stage; 1 keeps places, as baselines of re-identification do.
      groups: of channels that do not mix in a bottleneck's 3x3 convolution (ResNeXt).
      group_width: channels of a group in the first stage, where the width is 64.
      ibn: half of the channels of a block's first norm by the statistics of each image, but in the
        last stage (IBN-a).
      average_shortcut: shortcuts average 2x2 places before they convolve (ResNet-D).
      dtype: of the computation; parameters and statistics are float32.

    Every padding is explicit, as PyTorch counts it, so that imported weights agree; strides sit in
    the 3x3 convolution, as in torchvision ("version 1.5"). Besides: Xie et al., CVPR 2017
    (ResNeXt); Pan et al., ECCV 2018 (IBN-a); He et al., CVPR 2019 (ResNet-D).
    """

    blocks: tuple[int, ...]
    bottleneck: bool
    width: int = 64
    stem: Literal["imagenet", "deep", "strided", "small"] = "imagenet"
    last_stride: int = 2
    groups: int = 1
    group_width: int = 64
    ibn: bool = False
    average_shortcut: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "batch h w channels"], train: bool) -> Maps:
        """Maps images to the outputs of the stem and of each stage, NHWC."""
        maps = [self._stem(images.astype(self.dtype), train)]
        for stage, count in enumerate(self.blocks):
            x, last = maps[-1], stage == len(self.blocks) - 1
            for index in range(count):
                stride = 1 if stage == 0 or index > 0 else self.last_stride if last else 2
                block = self._block(self.width * 2**stage, stride, self.ibn and not last)
                x = block(name=f"layer{stage + 1}_{index}")(x, train)
            maps.append(x)
        return tuple(maps)

    def _block(self, features: int, stride: int, ibn: bool) -> Callable[..., nn.Module]:
        """The maker of a block."""
        common = (features, stride, self.dtype, ibn, self.average_shortcut)
        if self.bottleneck:
            inner = features * self.group_width // 64 * self.groups
            return functools.partial(BottleneckBlock, *common, inner, self.groups)
        return functools.partial(BasicBlock, *common)

    def _stem(self, x: jax.Array, train: bool) -> jax.Array:
        """The first convolution and what reduces the image before the first stage."""
        layer = _maker(train, self.dtype)
        for index in range(2 if self.stem == "deep" else 0):
            names = (f"stem_conv{index}", f"stem_bn{index}")
            x = nn.relu(layer(x, self.width // 2, 3, 2 - index, names=names))
        kernel, stride = STEMS[self.stem]
        x = nn.relu(layer(x, self.width, kernel, stride, names=("conv1", "bn1")))
        return max_pool(x, centred) if self.stem in ("imagenet", "deep") else x


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    features: int
    stride: int
    dtype: Any
    ibn: bool = False
    average_shortcut: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [batch, h, w, c] to [batch, h / stride, w / stride, features]."""
        layer = _maker(train, self.dtype)
        names = ("conv1", "bn1")
        y = nn.relu(layer(x, self.features, 3, self.stride, names=names, ibn=self.ibn))
        y = layer(y, self.features, 3, 1, names=("conv2", "bn2"))
        shortcut = _shortcut(x, self.features, self.stride, layer, self.average_shortcut)
        return nn.relu(shortcut + y)


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut."""

    features: int
    stride: int
    dtype: Any
    ibn: bool
    average_shortcut: bool
    inner: int
    groups: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [batch, h, w, c] to [batch, h / stride, w / stride, 4 * features]."""
        layer = _maker(train, self.dtype)
        y = nn.relu(layer(x, self.inner, 1, 1, names=("conv1", "bn1"), ibn=self.ibn))
        names = ("conv2", "bn2")
        y = nn.relu(layer(y, self.inner, 3, self.stride, names=names, groups=self.groups))
        y = layer(y, 4 * self.features, 1, 1, names=("conv3", "bn3"))
        shortcut = _shortcut(x, 4 * self.features, self.stride, layer, self.average_shortcut)
        return nn.relu(shortcut + y)


class InstanceAndBatchNorm(nn.Module):
    """The first half of the channels by the statistics of each image, the rest by the batch's."""

    train: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalizes [batch, h, w, c]."""
        half = x.shape[-1] // 2
        # Statistics of bfloat16 would lose what they are of.
        own = nn.InstanceNorm(epsilon=1e-5, dtype=jnp.float32, name="IN")(x[..., :half])
        rest = batch_norm(self.train, self.dtype, "BN")(x[..., half:])
        return jnp.concatenate([own.astype(rest.dtype), rest], axis=-1)


def _maker(train: bool, dtype: Any) -> Layer:
    """What convolves and normalizes, by modules of the block that calls it."""

    def layer(
        x: jax.Array,
        features: int,
        kernel: int,
        stride: int,
        names: tuple[str, str],
        *,
        groups: int = 1,
        ibn: bool = False,
    ) -> jax.Array:
        convolve = conv(features, kernel, stride, dtype=dtype, name=names[0], groups=groups)
        if ibn:
            return InstanceAndBatchNorm(train, dtype, name=names[1])(convolve(x))
        return conv_then_norm(convolve, batch_norm(train, dtype, names[1]), x)

    return layer


def _shortcut(x: jax.Array, features: int, stride: int, layer: Layer, average: bool) -> jax.Array:
    """The input itself, or projected where the block changes its shape."""
    if stride == 1 and x.shape[-1] == features:
        return x
    if average and stride > 1:
        # Of places within the map alone, the last row and column of odd sizes too.
        ends: Any = tuple((0, size % stride) for size in x.shape[1:3])
        window = (stride, stride)
        x, stride = nn.avg_pool(x, window, window, ends, count_include_pad=False), 1
    return layer(x, features, 1, stride, names=("downsample_conv", "downsample_bn"))
