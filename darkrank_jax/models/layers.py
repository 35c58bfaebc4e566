"""Layers that several architectures share."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from darkrank_jax.models.convolution import batch_norm, conv, conv_then_norm

Maps = tuple[Float[Array, "batch _h _w _c"], ...]
Activation = Callable[[jax.Array], jax.Array]


def identity(x: jax.Array) -> jax.Array:
    """No activation."""
    return x


def gelu(x: jax.Array) -> jax.Array:
    """x Phi(x), exact; Flax's default is an approximation by tanh."""
    return nn.gelu(x, approximate=False)


def gelu_tanh(x: jax.Array) -> jax.Array:
    """GELU approximated by tanh."""
    return nn.gelu(x, approximate=True)


def quick_gelu(x: jax.Array) -> jax.Array:
    """GELU approximated by x sigmoid(1.702 x)."""
    return x * nn.sigmoid(1.702 * x)


def product_of_rows(
    x: jax.Array, kernel: jax.Array, dimension_numbers: Any, **options: Any
) -> jax.Array:
    """The product of a linear layer, for Flax's `dot_general`, of all rows as one matrix.

    Over several leading axes XLA copies the cotangent for the kernel's gradient on CPUs.

    Example:
      >>> x, kernel = jnp.ones((2, 3, 4)), jnp.ones((4, 5))
      >>> product_of_rows(x, kernel, (((2,), (0,)), ((), ()))).shape
      (2, 3, 5)
    """
    assert dimension_numbers == (((x.ndim - 1,), (0,)), ((), ()))
    rows = x.reshape(-1, x.shape[-1])
    found = jax.lax.dot_general(rows, kernel, (((1,), (0,)), ((), ())), **options)
    return found.reshape(*x.shape[:-1], kernel.shape[-1])


def make_divisible(channels: float) -> int:
    """The multiple of 8 nearest to a number of channels, never below nine tenths of it.

    Example:
      >>> [make_divisible(channels) for channels in (3, 18, 20, 44)]
      [8, 24, 24, 48]
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


class ConvNorm(nn.Module):
    """Convolution, batch norm, activation; "0" and "1" within, as torchvision numbers them.

    Attributes:
      features: channels out.
      kernel: side of the kernel.
      stride: in both directions.
      groups: of channels that do not mix.
      activation: what follows the norm.
      momentum: of the running statistics.
      epsilon: of the norm.
      dtype: of the computation.
    """

    features: int
    kernel: int
    stride: int = 1
    groups: int = 1
    activation: Activation = nn.relu
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [batch, h, w, c] to [batch, h / stride, w / stride, features]."""
        groups = self.groups
        convolve = conv(
            self.features, self.kernel, self.stride, groups=groups, dtype=self.dtype, name="0"
        )
        norm = batch_norm(train, self.dtype, "1", momentum=self.momentum, epsilon=self.epsilon)
        return self.activation(conv_then_norm(convolve, norm, x))


class SqueezeExcite(nn.Module):
    """Channels weighted by what the whole map holds (Hu et al., CVPR 2018).

    x * gate(W2 activation(W1 mean(x) + b1) + b2), the mean over places

    Attributes:
      squeezed: channels between W1 and W2.
      activation: after W1.
      gate: after W2, of values 0 to 1.
      dtype: of the computation.
    """

    squeezed: int
    activation: Activation
    gate: Activation
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [batch, h, w, c] to the same shape."""
        y = x.mean(axis=(1, 2), keepdims=True)
        y = conv(self.squeezed, 1, bias=True, dtype=self.dtype, name="fc1")(y)
        y = conv(x.shape[-1], 1, bias=True, dtype=self.dtype, name="fc2")(self.activation(y))
        return x * self.gate(y)


class InvertedResidual(nn.Module):
    """Expand, convolve each channel by itself, squeeze and excite, project; a shortcut if it fits.

    Attributes:
      expanded: channels of the depthwise convolution; as many as come in: nothing expands.
      features: channels out.
      kernel: of the depthwise convolution.
      stride: likewise.
      squeezed: channels of the squeeze; 0: none.
      activation: of the expansion and the depthwise convolution.
      conv_norm: maker of `ConvNorm`, with the architecture's norm and dtype.
      squeeze: maker of `SqueezeExcite`, with its activations and dtype.
    """

    expanded: int
    features: int
    kernel: int
    stride: int
    squeezed: int
    activation: Activation
    conv_norm: Callable[..., ConvNorm]
    squeeze: Callable[..., SqueezeExcite]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [batch, h, w, c] to [batch, h / stride, w / stride, features]."""
        names = (f"block.{index}" for index in itertools.count())
        y = x
        if self.expanded != x.shape[-1]:
            expand = self.conv_norm(self.expanded, 1, activation=self.activation, name=next(names))
            y = expand(y, train)
        depthwise = self.conv_norm(
            self.expanded,
            self.kernel,
            self.stride,
            groups=self.expanded,
            activation=self.activation,
            name=next(names),
        )
        y = depthwise(y, train)
        if self.squeezed:
            y = self.squeeze(self.squeezed, name=next(names))(y)
        y = self.conv_norm(self.features, 1, activation=identity, name=next(names))(y, train)
        return x + y if self.stride == 1 and x.shape == y.shape else y
