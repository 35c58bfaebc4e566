"""What every metric does first with embeddings and labels: check them, and make them alike."""

import numpy as np
from jaxtyping import Array, Float, Int

from darkrank_jax.errors import UserError


def prepare(
    embeddings: Float[np.ndarray, "n dim"] | Float[Array, "n dim"], labels: Int[np.ndarray, " _"]
) -> tuple[Float[np.ndarray, "n dim"], Int[np.ndarray, " n"]]:
    """Moves and scales embeddings into the range where float32 tells distances apart.

    The mean becomes 0 and the largest number 1, which changes no order of distances and no
    clustering; without it, embeddings far from the origin would all seem at the same place.

    Args:
      embeddings: [n, dim], finite, of any precision.
      labels: int [n], any numbers.

    Returns:
      Float32 embeddings, and labels numbered from 0.

    Raises:
      UserError: there is no embedding, one is not finite, or labels are of another length.

    Example:
      >>> embeddings, labels = prepare(np.array([[1e9], [1e9 + 4]]), np.array([7, 3]))
      >>> embeddings.tolist(), labels.tolist()
      ([[-1.0], [1.0]], [1, 0])
    """
    exact = np.asarray(embeddings, np.float64)
    if len(exact) != len(labels):
        raise UserError(
            f"labels: there are {len(labels)} for {len(exact)} embeddings; give one each"
        )
    if not exact.size:
        raise UserError("embeddings: there are none; give at least one row")
    bad = np.flatnonzero(~np.isfinite(exact).all(axis=1))
    if bad.size:
        raise UserError(
            f"embeddings: {len(bad)} of {len(exact)} rows hold NaN or infinity, first row "
            f"{bad[0]}; lower the learning rate, or see what makes the network diverge"
        )
    centred = exact - exact.mean(axis=0)
    largest = np.abs(centred).max()
    scaled = centred / largest if largest > 0 else centred
    return scaled.astype(np.float32), np.unique(np.asarray(labels), return_inverse=True)[1]
