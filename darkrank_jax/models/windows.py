"""What convolutions and maxima see of a padded map."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp


def window_counts(
    x: jax.Array,
    sides: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
) -> list[int]:
    """How many windows fit down and across a padded map."""
    sizes = zip(x.shape[1:3], sides, strides, padding, strict=True)
    return [(size + sum(pad) - side) // stride + 1 for size, side, stride, pad in sizes]


def windows(
    x: jax.Array,
    sides: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    value: float,
) -> list[jax.Array]:
    """What each place of a window sees as the window moves over a map padded with a value."""
    counts = window_counts(x, sides, strides, padding)
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=value)
    slices = [
        [slice(first, first + stride * (count - 1) + 1, stride) for first in range(side)]
        for side, stride, count in zip(sides, strides, counts, strict=True)
    ]
    return [padded[:, rows, columns] for rows, columns in itertools.product(*slices)]
