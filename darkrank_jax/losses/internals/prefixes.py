"""Losses over prefixes of the embedding, as Matryoshka representation learning has them."""

from collections.abc import Sequence

import jax

from darkrank_jax.losses.internals.checks import check_whole
from darkrank_jax.losses.pairwise import normalize


def prefix_of(arrays: Sequence[jax.Array], names: Sequence[str], size: int) -> list[jax.Array]:
    """The arrays of a loss as if the embedding had `size` components.

    Args:
      arrays: of a loss, in order.
      names: of the arrays, as LOSSES has them.
      size: components of the embedding that stay, from 1 to its dim.

    Returns:
      The arrays, "embeddings" cut and brought to length 1, "class_weights" cut; all others as they
      are, a teacher's too.

    Raises:
      ValueError: a size that the embedding does not have.

    Example:
      >>> import jax.numpy as jnp
      >>> embeddings = jnp.array([[3.0, 4.0, 12.0]])
      >>> print(prefix_of([embeddings], ["embeddings"], 2)[0])
      [[0.6 0.8]]
    """
    found = list(arrays)
    for place, name in enumerate(names):
        if name == "embeddings":
            check_whole("prefixes", size, 1, arrays[place].shape[1])
            found[place] = normalize(arrays[place][:, :size])
        if name == "class_weights":
            found[place] = arrays[place][:size]
    return found
