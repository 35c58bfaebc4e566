"""Convolutions of each channel by itself, as CPUs are fast at them."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from darkrank_jax.models.windows import window_counts

Pads = tuple[tuple[int, int], ...]


def depthwise(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Sequence[tuple[int, int]]
) -> jax.Array:
    """A depthwise convolution, computed as it is fast where it runs.

    XLA has no fast one on CPUs. There it is a sum of shifted products in float32, with gradients of
    its own: that of the map by phases of the stride, each such a sum, and that of the kernel by
    rows. Accelerators have XLA's.

    Args:
      x: [batch, h, w, channels].
      kernel: [height, width, 1, channels].
      strides: down and across.
      padding: zeros before and after, down and across.

    Returns:
      [batch, h', w', channels], of the type of `x`; reverse differentiation only.

    Example:
      >>> x, kernel = jnp.ones((1, 3, 3, 2)), jnp.ones((3, 3, 1, 2))
      >>> depthwise(x, kernel, (1, 1), ((1, 1), (1, 1)))[0, :, :, 0].tolist()
      [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """
    return _depthwise(tuple(strides), tuple((low, high) for low, high in padding), x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _depthwise(strides: Sequence[int], padding: Pads, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """By device."""

    def ours(x: jax.Array, kernel: jax.Array) -> jax.Array:
        wide = _sum_of_products(strides, padding, *_widened(x, kernel))
        return wide.astype(x.dtype)

    theirs = functools.partial(_of_xla, strides, padding)
    return lax.platform_dependent(x, kernel, cpu=ours, default=theirs)


def _gradients(
    strides: Sequence[int],
    padding: Pads,
    inputs: tuple[jax.Array, jax.Array],
    cotangent: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Of the map and of the kernel, by device."""

    def ours(x: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
        wide_x, wide_kernel, wide = _widened(x, kernel, cotangent)
        of_map = _map_gradient(strides, padding, x.shape, wide_kernel, wide)
        of_kernel = _kernel_gradient(strides, padding, wide_x, kernel.shape, wide)
        return of_map.astype(x.dtype), of_kernel.astype(kernel.dtype)

    def theirs(
        x: jax.Array, kernel: jax.Array, cotangent: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        return jax.vjp(functools.partial(_of_xla, strides, padding), x, kernel)[1](cotangent)

    return lax.platform_dependent(*inputs, cotangent, cpu=ours, default=theirs)


def _forward(
    strides: Sequence[int], padding: Pads, x: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """The result, and what its gradients need."""
    return _depthwise(strides, padding, x, kernel), (x, kernel)


_depthwise.defvjp(_forward, _gradients)


def _of_xla(strides: Sequence[int], padding: Pads, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """XLA's convolution."""
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def _widened(*arrays: jax.Array) -> list[jax.Array]:
    """In float32 at least, in which products are summed."""
    return [array.astype(jnp.promote_types(array.dtype, jnp.float32)) for array in arrays]


def _padded(x: jax.Array, padding: Pads) -> jax.Array:
    """With zeros around; where there are fewer than none, cut."""
    pads = [(0, 0, 0), *((low, high, 0) for low, high in padding), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), pads)


def _sum_of_products(
    strides: Sequence[int], padding: Pads, x: jax.Array, kernel: jax.Array
) -> jax.Array:
    """One loop over the result, with a product for each place of the kernel."""
    (height, width), channels = kernel.shape[:2], x.shape[-1]
    down, across = window_counts(x, (height, width), strides, padding)
    x = _padded(x, padding)
    total = jnp.zeros((x.shape[0], down, across, channels), x.dtype)
    for i in range(height):
        for j in range(width):
            rows = slice(i, i + strides[0] * (down - 1) + 1, strides[0])
            columns = slice(j, j + strides[1] * (across - 1) + 1, strides[1])
            total = total + x[:, rows, columns] * kernel[i : i + 1, j : j + 1]
    return total


def _map_gradient(
    strides: Sequence[int],
    padding: Pads,
    shape: Sequence[int],
    kernel: jax.Array,
    cotangent: jax.Array,
) -> jax.Array:
    """Each place of a block of the stride's size is the sum over every stride-th of the kernel."""
    blocks = [-(-size // stride) for size, stride in zip(shape[1:3], strides, strict=True)]

    def phase(*places: int) -> jax.Array:
        """The gradient of all places that lie so within their block."""
        part, pads = kernel, []
        for axis, place in enumerate(places):
            stride, low = strides[axis], padding[axis][0]
            first = (place + low) % stride
            part = part[first::stride] if axis == 0 else part[:, first::stride]
            before = part.shape[axis] - 1 - (place + low - first) // stride
            after = blocks[axis] + part.shape[axis] - 1 - before - cotangent.shape[1 + axis]
            pads.append((before, after))
        if not part.size:
            return jnp.zeros((shape[0], *blocks, shape[3]), cotangent.dtype)
        return _sum_of_products((1, 1), tuple(pads), cotangent, part[::-1, ::-1])

    if tuple(strides) == (1, 1):
        return phase(0, 0)
    rows = [
        jnp.stack([phase(row, column) for column in range(strides[1])], axis=3)
        for row in range(strides[0])
    ]
    # [batch, block, place, block, place, channels]
    interleaved = jnp.stack(rows, axis=2)
    sides = [block * stride for block, stride in zip(blocks, strides, strict=True)]
    whole = interleaved.reshape(shape[0], *sides, shape[3])
    return whole[:, : shape[1], : shape[2]]


def _kernel_gradient(
    strides: Sequence[int],
    padding: Pads,
    x: jax.Array,
    shape: Sequence[int],
    cotangent: jax.Array,
) -> jax.Array:
    """Products summed row by row, and then over batch and columns.

    XLA's sum over batch and places in one is scalar on CPUs; a loop whose totals are maps is not.
    Its batch stays where it is, so that no step of it waits for another device.
    """
    (height, width), (down, across) = shape[:2], cotangent.shape[1:3]
    x = _padded(x, padding)

    def products(row: int | jax.Array) -> list[jax.Array]:
        """Of a row of the cotangent with what each place of the kernel saw."""
        given = lax.dynamic_index_in_dim(cotangent, row, 1, keepdims=False)
        seen = (
            lax.dynamic_index_in_dim(x, strides[0] * row + i, 1, keepdims=False)
            for i in range(height)
        )
        ends = [j + strides[1] * (across - 1) + 1 for j in range(width)]
        return [
            line[:, j : end : strides[1]] * given for line in seen for j, end in enumerate(ends)
        ]

    def add(row: jax.Array, totals: list[jax.Array]) -> list[jax.Array]:
        return [total + more for total, more in zip(totals, products(row), strict=True)]

    totals = lax.fori_loop(1, down, add, products(0))
    return jnp.stack([jnp.sum(total, (0, 1)) for total in totals]).reshape(shape)
