"""A batch in chunks, one after the other, for batches whose activations do not fit in memory."""

from collections.abc import Callable
from typing import Any

import jax


def by_chunks(
    function: Callable[[Any], tuple[Any, Any]], rows: Any, *, chunks: int, together: int
) -> tuple[Any, Any]:
    """Maps a function over chunks of a batch, whose activations live only as long as their chunk.

    The gradient runs the function again for each chunk (gradient caching: Gao et al., Scaling deep
    contrastive learning batch size under memory limited setup, RepL4NLP 2021).

    Args:
      function: of the rows of a chunk; gives what has one row for each of them, and the rest.
      rows: tree of arrays [batch, ...].
      chunks: that the batch is split into.
      together: number of rows that follow each other and stay in one chunk, so that every device
        has its share of each chunk; the batch is a multiple of chunks * together.

    Returns:
      The function's rows [batch, ...] in the order of the batch, and the rest's mean over chunks.

    Example:
      >>> import jax.numpy as jnp
      >>> rows, rest = by_chunks(lambda x: (x + 1, x.sum()), jnp.arange(4.0), chunks=2, together=1)
      >>> print(rows, rest)
      [1. 2. 3. 4.] 3.0
    """
    if chunks == 1:
        return function(rows)

    def split(array: jax.Array) -> jax.Array:
        dealt = array.reshape(-1, chunks, together, *array.shape[1:]).swapaxes(0, 1)
        return dealt.reshape(chunks, -1, *array.shape[1:])

    def join(array: jax.Array) -> jax.Array:
        dealt = array.reshape(chunks, -1, together, *array.shape[2:]).swapaxes(0, 1)
        return dealt.reshape(-1, *array.shape[2:])

    # In a loop nothing is computed twice that could be kept instead.
    checkpointed = jax.checkpoint(function, prevent_cse=False)
    found, rest = jax.lax.map(checkpointed, jax.tree.map(split, rows))
    return jax.tree.map(join, found), jax.tree.map(lambda array: array.mean(axis=0), rest)
