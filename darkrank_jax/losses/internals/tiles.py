"""What costs batch^3, a few rows of the batch at a time."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# Floats that a tile may hold, unless a row for each device needs more.
FLOATS, DEVICES = 2**22, 8


def map_rows(at: Callable[[Any], jax.Array], rows: Any, batch: int) -> jax.Array:
    """Calls a function for each row, one after the other on a CPU, and by tiles elsewhere.

    On a CPU what belongs to one row stays in the cache; elsewhere the steps would be a long
    wait.

    Args:
      at: of one row; makes arrays of batch * batch.
      rows: arrays by row.
      batch: size of the batch.

    Returns:
      What the function gives, by row.

    Example:
      >>> map_rows(lambda row: row.sum(), jnp.array([[1.0, 2.0], [3.0, 4.0]]), 2).tolist()
      [3.0, 7.0]
    """

    def by_tile(rows: Any) -> jax.Array:
        found = jax.lax.map(jax.vmap(at), tiled(rows, batch))
        return untiled(found, len(jax.tree.leaves(rows)[0]))

    by_row = functools.partial(jax.lax.map, at)
    return jax.lax.platform_dependent(rows, cpu=by_row, default=by_tile)


def tiled(rows: Any, batch: int) -> Any:
    """Arrays by row as [tiles, rows, ...]; what fills up the last tile is zero.

    Args:
      rows: arrays by row.
      batch: each row makes arrays of batch * batch.

    Returns:
      The arrays of tiles. Of rows that lie on several devices, each tile has some of every device.

    Example:
      >>> tiled(jnp.arange(9), 2000)[:, :5].tolist()
      [[0, 2, 4, 6, 8], [1, 3, 5, 7, 0]]
    """

    def of(array: jax.Array) -> jax.Array:
        size = min(len(array), max(DEVICES, FLOATS // batch**2))
        filled = jnp.pad(array, [(0, -len(array) % size)] + [(0, 0)] * (array.ndim - 1))
        return filled.reshape(size, -1, *array.shape[1:]).swapaxes(0, 1)

    return jax.tree.map(of, rows)


def untiled(tiles: jax.Array, count: int) -> jax.Array:
    """What was found for groups of tiles, by row again.

    Example:
      >>> untiled(tiled(jnp.arange(9), 2000), 9).tolist()
      [0, 1, 2, 3, 4, 5, 6, 7, 8]
    """
    return tiles.swapaxes(0, 1).reshape(-1, *tiles.shape[2:])[:count]
