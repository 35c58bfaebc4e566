"""Convolutions padded as PyTorch counts, NHWC, and the batch norm that follows them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from darkrank_jax.models.depthwise import depthwise
from darkrank_jax.models.kernel_gradient import with_gradient_by_rows
from darkrank_jax.models.windows import window_counts, windows

_PLAIN = ContextVar("plain_convolutions", default=False)
# Channels of images, and of what NVIDIA's fastest convolutions take a multiple of.
_FEW_CHANNELS, _FULL_CHANNELS = 3, 8


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
        conv_general_dilated=general_convolution,
        name=name,
    )


def batch_norm(
    train: bool, dtype: Any, name: str, *, momentum: float = 0.9, epsilon: float = 1e-5
) -> nn.BatchNorm:
    """Batch norm with PyTorch's momentum (there 1 - 0.9) and epsilon."""
    return nn.BatchNorm(not train, momentum=momentum, epsilon=epsilon, dtype=dtype, name=name)


def conv_then_norm(convolve: nn.Conv, norm: nn.BatchNorm, x: jax.Array) -> jax.Array:
    """A convolution and its batch norm; in evaluation one convolution where that is faster.

    kernel' = kernel * m, bias' = beta + (bias - mean) * m, with m = gamma / sqrt(var + epsilon)

    Args:
      convolve: called by nobody else.
      norm: likewise.
      x: [batch, h, w, c].

    Returns:
      [batch, h', w', features].

    NVIDIA's convolutions add a bias, a shortcut and a ReLU before they write to memory; a norm
    would read and write all of it again. A TPU's compiler expects more cycles of one than of both,
    and on CPUs it makes no difference.
    """
    grouped = convolve.feature_group_count > 1
    if not norm.use_running_average or grouped or norm.is_initializing() or _PLAIN.get():
        return norm(convolve(x))
    # Unbound, since a bound module can't be called from within another trace.
    own, beside = convolve.clone(parent=None), norm.clone(parent=None)

    def apart(variables: Any, x: jax.Array) -> Any:
        return beside.apply(variables[1], own.apply(variables[0], x))

    def in_one(variables: Any, x: jax.Array) -> Any:
        weights, statistics = variables[0]["params"], variables[1]["batch_stats"]
        affine = variables[1]["params"]
        multiplier = affine["scale"] * lax.rsqrt(statistics["var"] + norm.epsilon)
        bias = affine["bias"] + (weights.get("bias", 0) - statistics["mean"]) * multiplier
        kernel = weights["kernel"] * multiplier.reshape(1, 1, 1, -1)
        folded = {"params": {"kernel": kernel, "bias": bias}}
        return own.clone(use_bias=True).apply(folded, x)

    both = convolve.variables, norm.variables
    return lax.platform_dependent(both, x, cuda=in_one, default=apart)


@contextmanager
def plain_convolutions() -> Iterator[None]:
    """Within it, what is traced convolves by convolutions alone, as other runtimes like it."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def general_convolution(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    **options: Any,
) -> jax.Array:
    """A convolution, computed as it is fast where it runs, for Flax's `conv_general_dilated`.

    A depthwise one is that of `depthwise`. On CPUs the gradient in the kernel goes by rows
    (`with_gradient_by_rows`), and some are matrix products: for maps that come out smaller than the
    kernel, the last of a network that sees small images, and for their gradients, XLA has only a
    loop there, which takes 5 to 100 times as long, and for maps of the kernel's size 1.3 to 1.5
    times (experiments/model_speed); and where the kernel is one place, its gradient is slower there
    than that of a product. On NVIDIA GPUs the first of a network goes by `_by_blocks`. What is
    grouped otherwise, dilated or exported is XLA's.
    """
    sides, groups = kernel.shape[:2], options["feature_group_count"]
    spread = (options.get(name) or () for name in ("lhs_dilation", "rhs_dilation"))
    plain = _PLAIN.get() or any(step != 1 for steps in spread for step in steps)
    if not plain and groups > 1 and groups == x.shape[-1] == kernel.shape[-1]:
        return depthwise(x, kernel, strides, padding)
    sizes = window_counts(x, sides, strides, padding)
    small = all(size <= side for size, side in zip(sizes, sides, strict=True))
    small |= any(size < side for size, side in zip(sizes, sides, strict=True))
    pointwise = all(number == 1 for number in (*sides, *strides))
    stem = x.shape[-1] <= _FEW_CHANNELS and tuple(strides) == (2, 2) and min(sides) > 1

    def convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, kernel, strides, padding, **options)

    def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
        patches = jnp.concatenate(windows(x, sides, strides, padding, 0.0), axis=-1)
        weights = kernel.reshape(-1, kernel.shape[-1])
        # Two-dimensional: XLA's product over several leading axes, in the gradient, is slower.
        rows = patches.reshape(-1, patches.shape[-1])
        found = jnp.matmul(rows, weights, precision=options["precision"])
        return found.reshape(*patches.shape[:-1], weights.shape[-1])

    def blocks(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return _by_blocks(x, kernel, sizes, padding, **options)

    if plain or groups > 1:
        return convolution(x, kernel)
    by_rows = with_gradient_by_rows(convolution, strides, padding)
    branches = {"cpu": product if small or pointwise else by_rows}
    branches |= {"cuda": blocks} if stem else {}
    return lax.platform_dependent(x, kernel, **branches, default=convolution)


def _by_blocks(
    x: jax.Array,
    kernel: jax.Array,
    sizes: Sequence[int],
    padding: Sequence[tuple[int, int]],
    **options: Any,
) -> jax.Array:
    """A convolution of stride 2 as one of stride 1 over blocks of 2x2 pixels as channels.

    The same products are summed, and fewer of those with the zeros that channels are filled up
    with: 256 in all in place of 392 for a kernel of 7x7 over three channels.
    """
    whole = [side + side % 2 for side in kernel.shape[:2]]
    # The last block that a kernel reaches is the last of all.
    reached = [2 * (size - 1) + side for size, side in zip(sizes, whole, strict=True)]
    edges = [
        (low, end - low - length, 0)
        for (low, _), end, length in zip(padding, reached, x.shape[1:3], strict=True)
    ]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
    rows = [(0, side - own) for side, own in zip(whole, kernel.shape[:2], strict=True)]
    kernel = jnp.pad(kernel, [*rows, (0, 0), (0, 0)])
    x, kernel = _blocks(x, 1), _blocks(kernel, 0)
    missing = (0, -x.shape[-1] % _FULL_CHANNELS)
    x = jnp.pad(x, [(0, 0), (0, 0), (0, 0), missing])
    kernel = jnp.pad(kernel, [(0, 0), (0, 0), missing, (0, 0)])
    return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", **options)


def _blocks(x: jax.Array, axis: int) -> jax.Array:
    """Each 2x2 pixels of two axes as channels of one, which is the next axis after them."""
    height, width, channels = x.shape[axis : axis + 3]
    before, after = x.shape[:axis], x.shape[axis + 3 :]
    x = x.reshape(*before, height // 2, 2, width // 2, 2, channels, *after)
    x = jnp.swapaxes(x, axis + 1, axis + 2)
    return x.reshape(*before, height // 2, width // 2, 4 * channels, *after)
