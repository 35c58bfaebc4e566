"""Cross-batch memory: rows of earlier batches as further positives, negatives and list items.

Pure: every function takes a state and gives one. After `join`, rows of the batch come first, so
`num_anchors=batch` makes them the anchors, which DarkRank calls queries:

    rows, where = join(memory, {"embeddings": embeddings, "labels": labels})
    loss = supcon_loss(rows["embeddings"], rows["labels"], num_anchors=batch, where=where)
    memory = push(memory, {"embeddings": embeddings, "labels": labels})
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from darkrank_jax.losses.internals.checks import check_whole, check_width
from darkrank_jax.losses.masks import valid_rows


class Memory(NamedTuple):
    """The rows of the latest batches, as a ring.

    Attributes:
      rows: arrays [size, ...] by name.
      valid: bool [size], places that hold a row.
      position: integer scalar, the place that the next row takes.
    """

    rows: dict[str, jax.Array]
    valid: jax.Array
    position: jax.Array


def create(rows: Mapping[str, jax.Array], size: int) -> Memory:
    """An empty memory for rows like these.

    Args:
      rows: arrays [batch, ...] by name, such as embeddings, labels, teacher_embeddings; only their
        shapes and types count.
      size: how many rows it holds.

    Returns:
      The memory.

    Raises:
      ValueError: a size below 1.

    Example:
      >>> print(create({"labels": jnp.array([3, 4])}, size=3).valid)
      [False False False]
    """
    check_whole("size", size, 1)
    for name, row in rows.items():
        check_width(name, row)
    empty = {
        name: jnp.zeros([size, *row.shape[1:]], jax.dtypes.canonicalize_dtype(row.dtype))
        for name, row in rows.items()
    }
    return Memory(empty, jnp.zeros([size], bool), jnp.zeros([], jnp.int32))


def push(
    memory: Memory, rows: Mapping[str, jax.Array], *, where: jax.Array | None = None
) -> Memory:
    """Puts a batch in the place of the oldest rows; no gradient goes through the memory.

    Args:
      memory: the memory.
      rows: arrays [batch, ...] by name, at most `size` rows.
      where: bool [batch], rows that count; None: all.

    Returns:
      The new memory.

    Raises:
      ValueError: other names than the memory has, more rows than it holds.

    Example:
      >>> memory = create({"labels": jnp.array([3, 4])}, size=3)
      >>> for labels in ([3, 4], [5, 6]):
      ...     memory = push(memory, {"labels": jnp.array(labels)})
      >>> print(memory.rows["labels"])
      [6 4 5]
    """
    batch = _check_names(memory, rows)
    size = memory.valid.shape[0]
    if batch > size:
        raise ValueError(f"rows: got {batch} rows, expected at most the memory's size {size}")
    places = (memory.position + jnp.arange(batch)) % size
    stored = {
        name: old.at[places].set(jax.lax.stop_gradient(rows[name]).astype(old.dtype))
        for name, old in memory.rows.items()
    }
    valid = memory.valid.at[places].set(valid_rows(batch, where))
    return Memory(stored, valid, (memory.position + batch) % size)


def join(
    memory: Memory, rows: Mapping[str, jax.Array], *, where: jax.Array | None = None
) -> tuple[dict[str, jax.Array], jax.Array]:
    """The batch followed by the memory, for any loss on embeddings.

    Args:
      memory: the memory.
      rows: arrays [batch, ...] by name.
      where: bool [batch], rows that count; None: all.

    Returns:
      Arrays [batch + size, ...] by name, and the mask [batch + size] of the rows that count.

    Raises:
      ValueError: other names than the memory has.

    Example:
      >>> memory = push(create({"labels": jnp.array([3])}, size=2), {"labels": jnp.array([3])})
      >>> rows, where = join(memory, {"labels": jnp.array([4])})
      >>> print(rows["labels"], where)
      [4 3 0] [ True  True False]
    """
    batch = _check_names(memory, rows)
    joined = {
        name: jnp.concatenate([rows[name], old.astype(rows[name].dtype)])
        for name, old in memory.rows.items()
    }
    return joined, jnp.concatenate([valid_rows(batch, where), memory.valid])


def _check_names(memory: Memory, rows: Mapping[str, jax.Array]) -> int:
    """Checks that the rows have the memory's names; returns how many rows there are."""
    if set(rows) != set(memory.rows):
        raise ValueError(f"rows: got {sorted(rows)}, expected {sorted(memory.rows)}")
    for name, row in rows.items():
        check_width(name, row)
    return next(iter(rows.values())).shape[0]
