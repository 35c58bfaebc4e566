"""The maximum over 3x3 places, padded as PyTorch or as Caffe counts."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from darkrank_jax.models.windows import windows


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
    return _of_xla(padding, stride, x)


def _of_xla(padding: Sequence[tuple[int, int]], stride: int, x: jax.Array) -> jax.Array:
    """The maximum, with the gradient that XLA has for it."""
    return nn.max_pool(x, (3, 3), (stride, stride), padding=padding)  # pyright: ignore


def _max_pool_gradient(
    padding: Sequence[tuple[int, int]], stride: int, x: jax.Array, cotangent: jax.Array
) -> tuple[jax.Array]:
    """XLA's where that is made for it, on TPUs; their order of sums is fixed in both."""

    def theirs(x: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
        return jax.vjp(functools.partial(_of_xla, padding, stride), x)[1](cotangent)

    ours = functools.partial(_first_maxima_gradient, padding, stride)
    return lax.platform_dependent(x, cotangent, tpu=theirs, default=ours)


def _first_maxima_gradient(
    padding: Sequence[tuple[int, int]], stride: int, x: jax.Array, cotangent: jax.Array
) -> tuple[jax.Array]:
    """Gives what comes to a window to its first maximum."""

    def seen(x: jax.Array) -> list[jax.Array]:
        return windows(x, (3, 3), (stride, stride), padding, -jnp.inf)

    (best, *others), give_back = jax.vjp(seen, x)
    winner = jnp.zeros(best.shape, jnp.int8)
    for place, value in enumerate(others, 1):
        winner = jnp.where(value > best, jnp.int8(place), winner)
        best = jnp.maximum(best, value)
    shares = [jnp.where(winner == place, cotangent, 0) for place in range(1 + len(others))]
    return give_back(shares)


_max_pool.defvjp(lambda padding, stride, x: (_max_pool(padding, stride, x), x), _max_pool_gradient)
