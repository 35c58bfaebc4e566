"""Query expansion: a query moves towards its nearest gallery images and searches again."""

import numpy as np
from jaxtyping import Float

from darkrank_jax.evaluation.gallery_rows import Rows
from darkrank_jax.evaluation.inputs import unit
from darkrank_jax.evaluation.neighbors import nearest_neighbors


def expand_queries(
    queries: Rows, gallery: Rows, *, k: int = 10, alpha: float = 3.0
) -> Float[np.ndarray, "n dim"]:
    """Moves each query towards the gallery images nearest to it, and searches better.

    With embeddings of length one and c_i the cosine to the i-th of the k nearest:
    q' = (q + sum of max(c_i, 0)^alpha g_i) / its length; q where that sum is 0.

    Args:
      queries: [n, dim], finite, not zero.
      gallery: [m, dim], finite, not zero.
      k: number of images, 1 to m.
      alpha: 0 makes all weigh the same (average query expansion).

    Returns:
      [n, dim], of length one; they search the gallery of length one.

    Raises:
      UserError: k is out of its range, rows that are not finite or are zero.

    Example:
      >>> gallery = np.array([[0.0, 2.0], [-1.0, 0.0]])
      >>> expanded = expand_queries(np.array([[1.0, 1.0]]), gallery, k=1, alpha=0.0)
      >>> [round(float(number), 4) for number in expanded[0]]
      [0.3827, 0.9239]

    Source: Chum et al., Total recall, ICCV 2007; Radenovic, Tolias, Chum, TPAMI 2019, section 3.3,
    for alpha.
    """
    distances, indices = nearest_neighbors(queries, gallery, k=k, metric="cosine")
    own, found = (unit(np.asarray(rows, np.float32)) for rows in (queries, gallery))
    sought = own
    weights = np.maximum(1 - distances, 0) ** alpha
    for place in range(k):
        sought = sought + weights[:, place, None] * found[indices[:, place]]
    # Neighbours that cancel a query leave no direction: it stays where it is.
    cancelled = np.linalg.norm(sought, axis=1) <= 8 * k * np.finfo(np.float32).eps
    return unit(np.where(cancelled[:, None], own, sought))
