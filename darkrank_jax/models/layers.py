"""Layers that several architectures share: padded as PyTorch counts, NHWC."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

Maps = tuple[Float[Array, "batch _h _w _c"], ...]
Activation = Callable[[jax.Array], jax.Array]
_PLAIN = ContextVar("plain_convolutions", default=False)


def identity(x: jax.Array) -> jax.Array:
    """No activation."""
    return x


def gelu(x: jax.Array) -> jax.Array:
    """x Phi(x), exact; Flax's default is an approximation by tanh."""
    return nn.gelu(x, approximate=False)


def conv(
    features: int,
    kernel: int,
    stride: int = 1,
    *,
    dtype: Any,
    name: str,
    groups: int = 1,
    bias: bool = False,
    padding: int | None = None,
) -> nn.Conv:
    """A convolution, padded alike on all sides.

    Args:
      features: channels out.
      kernel: side of the kernel.
      stride: in both directions.
      dtype: of the computation.
      name: of the module.
      groups: of channels that do not mix; all channels in for a depthwise convolution.
      bias: whether something is added; a norm that follows makes it idle.
      padding: zeros on each side; None: half the kernel.

    Returns:
      The module.
    """
    return nn.Conv(
        features,
        (kernel, kernel),
        (stride, stride),
        padding=kernel // 2 if padding is None else padding,
        feature_group_count=groups,
        use_bias=bias,
        dtype=dtype,
        kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal"),
        conv_general_dilated=_convolve,
        name=name,
    )


@contextmanager
def plain_convolutions() -> Iterator[None]:
    """Within it, what is traced convolves by convolutions alone, as other runtimes like it."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def _convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    **options: Any,
) -> jax.Array:
    """A convolution; on CPUs, where XLA's is slow, a matrix product.

    For maps that come out smaller than the kernel, the last of a network that sees small images,
    and for their gradients, XLA has only a loop there, which takes 5 to 100 times as long. Where
    the kernel is one place, its gradient is slower there than that of a product.
    """
    sides = kernel.shape[:2]
    grouped = options["feature_group_count"] > 1
    sizes = _window_counts(x, sides, strides, padding)
    small = any(size < side for size, side in zip(sizes, sides, strict=True))
    pointwise = all(number == 1 for number in (*sides, *strides))

    def convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, kernel, strides, padding, **options)

    def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
        patches = jnp.concatenate(_windows(x, sides, strides, padding, 0.0), axis=-1)
        weights = kernel.reshape(-1, kernel.shape[-1])
        # Two-dimensional: XLA's product over several leading axes, in the gradient, is slower.
        rows = patches.reshape(-1, patches.shape[-1])
        found = jnp.matmul(rows, weights, precision=options["precision"])
        return found.reshape(*patches.shape[:-1], weights.shape[-1])

    if _PLAIN.get() or grouped or not (small or pointwise):
        return convolution(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=product, default=convolution)


def _window_counts(
    x: jax.Array,
    sides: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
) -> list[int]:
    """How many windows fit down and across a padded map."""
    sizes = zip(x.shape[1:3], sides, strides, padding, strict=True)
    return [(size + sum(pad) - side) // stride + 1 for size, side, stride, pad in sizes]


def _windows(
    x: jax.Array,
    sides: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    value: float,
) -> list[jax.Array]:
    """What each place of a window sees as the window moves over a map padded with a value."""
    counts = _window_counts(x, sides, strides, padding)
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=value)
    slices = [
        [slice(first, first + stride * (count - 1) + 1, stride) for first in range(side)]
        for side, stride, count in zip(sides, strides, counts, strict=True)
    ]
    return [padded[:, rows, columns] for rows, columns in itertools.product(*slices)]


def batch_norm(
    train: bool, dtype: Any, name: str, *, momentum: float = 0.9, epsilon: float = 1e-5
) -> nn.BatchNorm:
    """Batch norm with PyTorch's momentum (there 1 - 0.9) and epsilon."""
    return nn.BatchNorm(not train, momentum=momentum, epsilon=epsilon, dtype=dtype, name=name)


def centred(size: int) -> tuple[int, int]:
    """One place of padding on each side, as PyTorch's networks have it."""
    del size
    return 1, 1


def filled_up(size: int) -> tuple[int, int]:
    """Padding after the map alone, for a last window that the map fills in part, as in Caffe."""
    return 0, max(3 - size, (3 - size) % 2)


def max_pool(x: jax.Array, pad: Callable[[int], tuple[int, int]], stride: int = 2) -> jax.Array:
    """The maximum over 3x3 places.

    Args:
      x: [batch, h, w, channels].
      pad: places of minus infinity before and after a side, by its size.
      stride: in both directions.

    Returns:
      [batch, h', w', channels]; the gradient goes to the first of equal places.

    Example:
      >>> x = jnp.arange(16.0).reshape(1, 4, 4, 1)
      >>> max_pool(x, centred)[0, :, :, 0].tolist(), max_pool(x, filled_up)[0, :, :, 0].tolist()
      ([[5.0, 7.0], [13.0, 15.0]], [[10.0, 11.0], [14.0, 15.0]])
    """
    rows, columns = (pad(size) for size in x.shape[1:3])
    return _max_pool((rows, columns), stride, x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _max_pool(padding: Sequence[tuple[int, int]], stride: int, x: jax.Array) -> jax.Array:
    """The maximum, for whose own gradient XLA has a slow loop on CPUs, and atomic sums on GPUs."""
    return _xla_max_pool(padding, stride, x)


def _xla_max_pool(padding: Sequence[tuple[int, int]], stride: int, x: jax.Array) -> jax.Array:
    """The maximum, with the gradient that XLA has for it."""
    return nn.max_pool(x, (3, 3), (stride, stride), padding=padding)  # pyright: ignore


def _max_pool_gradient(
    padding: Sequence[tuple[int, int]], stride: int, x: jax.Array, cotangent: jax.Array
) -> tuple[jax.Array]:
    """XLA's where that is made for it, on TPUs; their order of sums is fixed in both."""

    def theirs(x: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
        return jax.vjp(functools.partial(_xla_max_pool, padding, stride), x)[1](cotangent)

    ours = functools.partial(_first_maxima_gradient, padding, stride)
    return lax.platform_dependent(x, cotangent, tpu=theirs, default=ours)


def _first_maxima_gradient(
    padding: Sequence[tuple[int, int]], stride: int, x: jax.Array, cotangent: jax.Array
) -> tuple[jax.Array]:
    """Gives what comes to a window to its first maximum."""

    def windows(x: jax.Array) -> list[jax.Array]:
        return _windows(x, (3, 3), (stride, stride), padding, -jnp.inf)

    (best, *others), give_back = jax.vjp(windows, x)
    winner = jnp.zeros(best.shape, jnp.int8)
    for place, value in enumerate(others, 1):
        winner = jnp.where(value > best, jnp.int8(place), winner)
        best = jnp.maximum(best, value)
    shares = [jnp.where(winner == place, cotangent, 0) for place in range(1 + len(others))]
    return give_back(shares)


_max_pool.defvjp(lambda padding, stride, x: (_max_pool(padding, stride, x), x), _max_pool_gradient)


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
        x = conv(
            self.features, self.kernel, self.stride, groups=groups, dtype=self.dtype, name="0"
        )(x)
        norm = batch_norm(train, self.dtype, "1", momentum=self.momentum, epsilon=self.epsilon)
        return self.activation(norm(x))


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
