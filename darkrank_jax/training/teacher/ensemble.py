"""Several embeddings of an image as one."""

import jax
import jax.numpy as jnp

from darkrank_jax.losses import pairwise


def combine_embeddings(embeddings: list[jax.Array], how: str) -> jax.Array:
    """One embedding of several, each brought to length 1 first.

    Args:
      embeddings: [batch, dim] each; dims may differ where they are concatenated.
      how: "concatenation", whose squared distances are the mean of the members', or "mean".

    Returns:
      [batch, dim], of length 1.

    Raises:
      ValueError: dims differ, for a mean.

    Example:
      >>> east, north = jnp.array([[2.0, 0.0]]), jnp.array([[0.0, 3.0]])
      >>> print(combine_embeddings([east, north], "mean"))
      [[0.70710677 0.70710677]]
      >>> print(combine_embeddings([east, north], "concatenation"))
      [[0.70710677 0.         0.         0.70710677]]
    """
    units = [pairwise.normalize(each) for each in embeddings]
    dims = {each.shape[-1] for each in units}
    if how == "mean" and len(dims) > 1:
        raise ValueError(f"embeddings of {' and '.join(map(str, sorted(dims)))} numbers")
    joined = jnp.concatenate(units, axis=-1) if how == "concatenation" else sum(units)
    return pairwise.normalize(jnp.asarray(joined))
