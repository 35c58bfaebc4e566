"""OSNet (Zhou et al., ICCV 2019): re-identification at several scales in one light block."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from darkrank_jax.models.convolution import batch_norm, conv, conv_then_norm
from darkrank_jax.models.layers import Activation, Maps, SqueezeExcite, identity
from darkrank_jax.models.pooling import centred, max_pool


class OSNet(nn.Module):
    """OSNet without its fully connected layer and classifier; modules are named as in torchreid.

    Attributes:
      width: factor on the channels, 64 of the stem and 256, 384 and 512 of the stages; 1, 0.75, 0.5
        and 0.25 are published.
      dtype: of the computation; parameters and statistics are float32.
    """

    width: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "batch h w channels"], train: bool) -> Maps:
        """Maps images to the last map of each size, NHWC: 1/2, 1/4, 1/8 and 1/16."""
        stem, *stages = (round(channels * self.width) for channels in (64, 256, 384, 512))
        x = images.astype(self.dtype)
        x = Unit(stem, 7, 2, dtype=self.dtype, name="conv1")(x, train)
        maps = [x]
        x = max_pool(x, centred)
        for stage, features in enumerate(stages):
            name = f"conv{stage + 2}"
            for index in range(2):
                x = OmniScaleBlock(features, self.dtype, name=f"{name}.{index}")(x, train)
            if features != stages[-1]:
                maps.append(Unit(features, 1, dtype=self.dtype, name=f"{name}.2.0")(x, train))
                x = nn.avg_pool(maps[-1], (2, 2), (2, 2))
        return (*maps, Unit(stages[-1], 1, dtype=self.dtype, name="conv5")(x, train))


class OmniScaleBlock(nn.Module):
    """Four branches of one to four light 3x3 convolutions, gated by one gate that they share."""

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [batch, h, w, c] to [batch, h, w, features]."""
        narrow = self.features // 4
        y = Unit(narrow, 1, dtype=self.dtype, name="conv1")(x, train)
        gate = SqueezeExcite(max(1, narrow // 16), nn.relu, nn.sigmoid, self.dtype, name="gate")
        total = gate(LightConv(narrow, self.dtype, name="conv2a")(y, train))
        for branch, length in {"b": 2, "c": 3, "d": 4}.items():
            z = y
            for index in range(length):
                z = LightConv(narrow, self.dtype, name=f"conv2{branch}.{index}")(z, train)
            total = total + gate(z)
        linear = functools.partial(Unit, self.features, 1, activation=identity, dtype=self.dtype)
        if x.shape[-1] != self.features:
            x = linear(name="downsample")(x, train)
        return nn.relu(x + linear(name="conv3")(total, train))


class Unit(nn.Module):
    """Convolution, batch norm, activation."""

    features: int
    kernel: int
    stride: int = 1
    activation: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [batch, h, w, c] to [batch, h / stride, w / stride, features]."""
        convolve = conv(self.features, self.kernel, self.stride, dtype=self.dtype, name="conv")
        norm = batch_norm(train, self.dtype, "bn")
        return self.activation(conv_then_norm(convolve, norm, x))


class LightConv(nn.Module):
    """1x1 convolution, then 3x3 of each channel by itself, batch norm and ReLU."""

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [batch, h, w, c] to [batch, h, w, features]."""
        x = conv(self.features, 1, dtype=self.dtype, name="conv1")(x)
        x = conv(self.features, 3, groups=self.features, dtype=self.dtype, name="conv2")(x)
        return nn.relu(batch_norm(train, self.dtype, "bn")(x))
