"""Re-ranking by k-reciprocal neighbours: sparse, a block of queries at a time."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import sparse

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.distances import squared_distances
from darkrank_jax.evaluation.gallery_rows import Rows
from darkrank_jax.evaluation.inputs import alike
from darkrank_jax.evaluation.neighbors import nearest_neighbors

# Rows whose distances to all others are held at once, which bounds the memory.
ROWS = 128
# Rows of two tiles that are compared: 16 MiB of distances.
SQUARE = 2048
# Pairs whose distances are computed at once.
PAIRS = 4096


def rerank(
    queries: Rows, gallery: Rows, *, k1: int = 20, k2: int = 6, weight: float = 0.3
) -> Float[np.ndarray, "n m"]:
    """Distances that also ask whether two images have the same neighbours.

    All n + m images search each other. R(i) are the images among the k1 nearest of i that have i
    among theirs, together with the same sets of half the length of those members of R(i) whose set
    lies in R(i) by more than two thirds. Image i becomes a vector over images: V(i, j) = exp(-d(i,
    j)) on R(i), in sum 1, d the squared distance over the largest of i; then the mean of the
    vectors of its k2 nearest. The result is (1 - weight) J + weight d, where J = 1 - sum of
    min(V(i), V(j)) / sum of max(V(i), V(j)).

    Memory beyond the arrays given: the result, 4 n m bytes; two copies of all embeddings; sparse
    vectors, some 100 to 300 numbers an image; and 12 * 128 * (n + m) bytes.

    Args:
      queries: [n, dim], finite; of length one for cosine distances.
      gallery: [m, dim], finite.
      k1: neighbours that must be mutual, 1 to n + m - 1.
      k2: nearest images whose vectors are averaged, 1 to k1 + 1; 1: none but the image itself.
      weight: of the plain distance, 0 to 1.

    Returns:
      [n, m] float32, for `reid_values_of_distances`.

    Raises:
      UserError: k1, k2 or the weight is out of its range; a set is empty, not finite or of another
        dimension.

    Example:
      >>> points = np.array([[0.0], [0.1], [0.2], [3.0], [3.1]], np.float32)
      >>> found = rerank(points[:1], points[1:], k1=2, k2=1)
      >>> [round(float(distance), 2) for distance in found[0]]
      [0.0, 0.0, 0.98, 1.0]

    Source: Zhong et al., Re-ranking person re-identification with k-reciprocal encoding, CVPR 2017,
    eq. 3 to 12, as its authors' program has it.
    """
    sought, found = alike(queries=queries, gallery=gallery)
    points = np.concatenate([sought, found])
    _check(len(points), k1, k2, weight)
    nearest = nearest_neighbors(points, points, k=k1 + 1)[1]
    farthest = _farthest(points)
    vectors = _vectors(points, _expanded(nearest, k1), farthest)
    if k2 > 1:
        vectors = sparse.csr_array(_links(nearest[:, :k2]) @ vectors) / k2
    return _blended(sought, found, vectors, farthest, weight)


def _check(count: int, k1: int, k2: int, weight: float) -> None:
    """Refuses what is out of range."""
    if not 1 <= k1 < count:
        raise UserError(f"k1: must be 1 to {count - 1}, the other images (got {k1})")
    if not 1 <= k2 <= k1 + 1:
        raise UserError(f"k2: must be 1 to k1 + 1, which is {k1 + 1} (got {k2})")
    if not 0 <= weight <= 1:
        raise UserError(f"weight: must be 0 to 1 (got {weight})")


def _links(neighbors: np.ndarray) -> sparse.csr_array:
    """1 from each image to each of its neighbours."""
    count, width = neighbors.shape
    ends = np.arange(0, count * width + 1, width)
    ones = np.ones(count * width, np.float32)
    return sparse.csr_array((ones, neighbors.ravel(), ends), shape=(count, count))


def _expanded(nearest: np.ndarray, k1: int) -> sparse.csr_array:
    """Above 0 from each image to the members of its expanded reciprocal set."""
    reciprocal, close = (
        links.multiply(links.T).tocsr()
        for links in (_links(nearest), _links(nearest[:, : round(k1 / 2) + 1]))
    )
    shared = (reciprocal @ close.T).multiply(reciprocal).tocsr()
    # The sets of those members that share more than two thirds of theirs.
    shared.data = (shared.data > 2 / 3 * close.sum(axis=1)[shared.indices]).astype(np.float32)
    return (reciprocal + shared @ close).tocsr()


def _vectors(points: np.ndarray, links: sparse.csr_array, farthest: np.ndarray) -> sparse.csr_array:
    """Weights exp(-distance) on the links, which sum to 1 for each image."""
    links.eliminate_zeros()
    images = np.repeat(np.arange(len(points)), np.diff(links.indptr))
    squares = np.empty(len(images), np.float32)
    for pairs in (slice(at, at + PAIRS) for at in range(0, len(images), PAIRS)):
        gaps = points[images[pairs]] - points[links.indices[pairs]]
        squares[pairs] = np.einsum("nd,nd->n", gaps, gaps)
    weights = np.exp(-squares / farthest[images])
    sums = np.bincount(images, weights, len(points))
    return sparse.csr_array((weights / sums[images], links.indices, links.indptr), links.shape)


def _farthest(points: np.ndarray) -> np.ndarray:
    """The largest squared distance of each image, 1 where all are at one point.

    Two tiles need not be compared twice: what is far for the one is far for the other.
    """
    size = min(SQUARE, len(points))
    count = -(-len(points) // size)
    # Filled up with images that are there already, which changes no maximum.
    tiles = jnp.asarray(points[np.arange(count * size) % len(points)].reshape(count, size, -1))
    pairs = [(i, j) for i in range(count) for j in range(i, count)]
    found = [largest_distances(tiles[i], tiles[j]) for i, j in pairs]
    largest = np.zeros((count, size), np.float32)
    for (i, j), (rows, columns) in zip(pairs, found, strict=True):
        np.maximum(largest[i], rows, out=largest[i])
        np.maximum(largest[j], columns, out=largest[j])
    joined = largest.ravel()[: len(points)]
    return np.where(joined > 0, joined, 1)


@jax.jit
def largest_distances(first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The largest squared distance of each image to those of the other tile."""
    squares = squared_distances(first, second)
    return jnp.max(squares, axis=1), jnp.max(squares, axis=0)


def _blended(
    queries: np.ndarray,
    gallery: np.ndarray,
    vectors: sparse.csr_array,
    farthest: np.ndarray,
    weight: float,
) -> np.ndarray:
    """The result, a block of queries at a time."""
    count = len(queries)
    result = np.empty((count, len(gallery)), np.float32)
    points, columns = jnp.asarray(gallery), vectors[count:].tocsc()
    for block in (slice(at, at + ROWS) for at in range(0, count, ROWS)):
        plain = np.asarray(squared_distances(jnp.asarray(queries[block]), points))
        result[block] = plain * (weight / farthest[:count][block, None])
    for query, line in enumerate(result):
        shared = _shared(vectors, columns, query, len(line))
        line += (1 - weight) * (1 - shared / (2 - shared))
    return result


def _shared(
    vectors: sparse.csr_array, columns: sparse.csc_array, query: int, size: int
) -> np.ndarray:
    """Sum of the minima of a query's vector and that of each gallery image.

    Both sum to 1, so that the sum of the maxima is 2 less this. Only the images that share an entry
    are looked at.
    """
    own = slice(vectors.indptr[query], vectors.indptr[query + 1])
    entries = vectors.indices[own]
    parts = [slice(columns.indptr[i], columns.indptr[i + 1]) for i in entries]
    images = np.concatenate([columns.indices[part] for part in parts])
    theirs = np.concatenate([columns.data[part] for part in parts])
    ours = np.repeat(vectors.data[own], [part.stop - part.start for part in parts])
    return np.bincount(images, np.minimum(ours, theirs), size)
