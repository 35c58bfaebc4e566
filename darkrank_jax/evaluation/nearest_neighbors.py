"""Exact nearest neighbours in tiles, over any number of devices, in bounded memory."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Int8

from darkrank_jax.errors import UserError, nearest
from darkrank_jax.evaluation.inputs import check_dimensions, check_directions, check_rows

METRICS = ("euclidean", "cosine")
# Queries and gallery rows (on each device) of one tile. A CPU is fastest while the tile's distances
# stay in its cache, an accelerator when it has much to do at once.
_CPU_TILE, _TILE = (256, 16384), (2048, 65536)
# Queries that search the gallery in one pass.
_PASS = 65536
# Columns of which only the largest is looked at first.
_BLOCK = 64
# Neighbours found beyond k, so that rounding in the products costs none of the k.
_SPARE = 8
# Rows compared at once when the distances of what was found are computed.
_REFINED = 2048


class Int8Gallery(NamedTuple):
    """A gallery in a quarter of the memory, from `to_int8`: row i is codes[i] * scales[i]."""

    codes: Int8[np.ndarray, "m dim"]
    scales: Float[np.ndarray, " m"]


Rows = Float[np.ndarray, "_ _"] | Float[Array, "_ _"]


def nearest_neighbors(
    queries: Rows,
    gallery: Rows | Int8Gallery,
    *,
    k: int,
    exclude_self: bool = False,
    metric: str = "euclidean",
    devices: Sequence[Any] | None = None,
) -> tuple[Float[np.ndarray, "n k"], Int[np.ndarray, "n k"]]:
    """Finds the k nearest gallery rows of every query.

    d = ||q - g||, or 1 - cos(q, g). Inner products of tiles find k + 8 candidates; their distances
    are then computed from differences, so that duplicates are at distance 0 and neither tiles nor
    devices show in the result. Each tile's best are found in two steps, exactly: the k + 8 blocks
    of 64 columns with the largest maxima hold them.

    Memory beyond the arrays given, with f = 4 dim bytes a row: 65,536 f for the queries of a pass;
    on a CPU 65,536 f for tiles of the gallery, on an accelerator 131,072 f on the host and
    65,536 f + 512 MiB on each device; and 48 (k + 9) bytes a query: 0.5 GiB for 512 numbers on a
    CPU, whatever the size of the gallery, which may be a memory map. A gallery of bfloat16 or
    `Int8Gallery` takes a half or a quarter of float32's memory, as distances to the rounded rows:
    `experiments/evaluation_speed` states the recall that is lost.

    Args:
      queries: [n, dim], finite.
      gallery: [m, dim], finite, of any float type, or from `to_int8`.
      k: 1 to m, or to m - 1 with `exclude_self`.
      exclude_self: leave row i of the gallery out for query i, by index, so that a duplicate of a
        query is still found; for a set that is searched with itself.
      metric: "euclidean" or "cosine".
      devices: over which the gallery is split; None: all local ones.

    Returns:
      (distances, indices), nearest first; of two at the same distance the first row comes first.

    Raises:
      UserError: k is out of its range, `exclude_self` with sets of different length, an unknown
        metric, rows that are not finite, or of different dimension, or zero where the metric is
        cosine.

    Example:
      >>> points = np.array([[0.0], [5.0], [3.0], [0.0]], np.float32)
      >>> distances, indices = nearest_neighbors(points, points, k=2, exclude_self=True)
      >>> distances.tolist()
      [[0.0, 3.0], [2.0, 5.0], [2.0, 3.0], [0.0, 3.0]]
      >>> indices.tolist()
      [[3, 2], [2, 0], [1, 0], [0, 2]]
    """
    sought = np.asarray(queries)
    if not isinstance(gallery, Int8Gallery):
        gallery = np.asarray(gallery)
    _check(sought, gallery, k, exclude_self, metric)
    count = len(_stored(gallery))
    # Distances do not change with the origin, but their rounding error does; any will do that is
    # among the rows.
    sample = _rows(gallery, slice(None, None, -(-count // 4096)))
    centre = np.zeros(sought.shape[1], np.float32)
    if metric == "euclidean":
        centre = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    mesh = Mesh(np.array(devices or jax.local_devices()), ("data",), axis_types=(AxisType.Auto,))
    wanted = min(k + exclude_self + _SPARE, count)
    found = []
    for start in range(0, len(sought), _PASS):
        rows = sought[start : start + _PASS]
        candidates = _candidates(rows, gallery, centre, metric=metric, wanted=wanted, mesh=mesh)
        own = np.arange(start, start + len(rows)) if exclude_self else None
        found.append(_refined(rows, gallery, candidates, own, k=k, metric=metric))
    distances, indices = zip(*found, strict=True)
    return np.concatenate(distances), np.concatenate(indices)


def to_int8(gallery: Rows) -> Int8Gallery:
    """Rounds each row of a gallery to 255 steps.

    codes = round(127 g / max |g|), scales = max |g| / 127, row by row.

    Args:
      gallery: [m, dim], finite.

    Returns:
      Codes and scales, which `nearest_neighbors` takes for a gallery; a number is off by at most
      half a scale.

    Raises:
      UserError: there is no row, or one is not finite.

    Example:
      >>> codes, scales = to_int8(np.array([[0.5, -1.0], [0.0, 0.0]], np.float32))
      >>> codes.tolist(), (127 * scales).tolist()
      ([[64, -127], [0, 0]], [1.0, 0.0])
    """
    rows = check_rows(np.asarray(gallery), "gallery")
    codes, scales = np.empty(rows.shape, np.int8), np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _REFINED):
        tile = np.asarray(rows[start : start + _REFINED], np.float32)
        largest = np.abs(tile).max(axis=1)
        steps = tile * (127 / np.where(largest > 0, largest, 1))[:, None]
        codes[start : start + _REFINED] = np.rint(steps)
        scales[start : start + _REFINED] = largest / 127
    return Int8Gallery(codes, scales)


def _check(
    queries: np.ndarray,
    gallery: np.ndarray | Int8Gallery,
    k: int,
    exclude_self: bool,
    metric: str,
) -> None:
    """Refuses what can be told before any distance is computed."""
    if metric not in METRICS:
        raise UserError(f"metric: {metric!r} is none; {nearest(metric, METRICS)}")
    count = len(_stored(gallery))
    check_dimensions(queries=queries.shape, gallery=_stored(gallery).shape)
    most = count - exclude_self
    if not 1 <= k <= most:
        raise UserError(f"k: is {k}, of {most} to be found; give 1 to {most}")
    if exclude_self and len(queries) != count:
        raise UserError(
            f"exclude_self: {len(queries)} queries are not the {count} rows of the gallery; "
            "give the same set twice"
        )
    _check_lengths(_wide(queries), "queries", metric)


def _check_lengths(rows: np.ndarray, name: str, metric: str) -> None:
    """Refuses rows without a length, and with cosine rows of length zero."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.einsum("nd,nd->n", rows, rows)
    # Looking at each number takes longer, and is seldom needed.
    if len(lengths) and np.all(lengths < np.finfo(np.float32).max) and np.all(lengths > 0):
        return
    check_rows(rows, name)
    if metric == "cosine":
        check_directions(rows, name)
    if not np.all(lengths < np.finfo(np.float32).max):
        raise UserError(f"{name}: the squares of some rows exceed float32; divide all embeddings")


def _stored(gallery: np.ndarray | Int8Gallery) -> np.ndarray:
    """The array with one line for each gallery row."""
    return gallery.codes if isinstance(gallery, Int8Gallery) else gallery


def _rows(gallery: np.ndarray | Int8Gallery, index: slice | np.ndarray) -> np.ndarray:
    """Some gallery rows as float32, or float64 where that is what they are."""
    if isinstance(gallery, Int8Gallery):
        return gallery.codes[index] * gallery.scales[index][:, None]
    return _wide(gallery[index])


def _wide(rows: np.ndarray) -> np.ndarray:
    """The same numbers in float32, or in float64 if that is what they are."""
    return rows if rows.dtype == np.float64 else rows.astype(np.float32, copy=False)


def _candidates(
    queries: np.ndarray,
    gallery: np.ndarray | Int8Gallery,
    centre: np.ndarray,
    *,
    metric: str,
    wanted: int,
    mesh: Mesh,
) -> np.ndarray:
    """The rows [n, wanted] that are nearest by inner products, in no order."""
    count, shards = len(_stored(gallery)), mesh.size
    height, width = _CPU_TILE if mesh.devices.flat[0].platform == "cpu" else _TILE
    height = min(height, len(queries))
    width = _BLOCK * -(-min(width, -(-count // shards)) // _BLOCK)
    everywhere = NamedSharding(mesh, PartitionSpec())
    lay = functools.partial(_laid, centre=centre, cosine=metric == "cosine")
    tiles = [
        lay(queries[start : start + height], height, everywhere)[0]
        for start in range(0, len(queries), height)
    ]
    nothing = np.full((height, wanted), -np.inf, np.float32), np.zeros((height, wanted), np.int32)
    best = [jax.device_put(nothing, everywhere)] * len(tiles)
    by_rows = NamedSharding(mesh, PartitionSpec("data"))
    for first in range(0, count, width * shards):
        rows = _rows(gallery, slice(first, first + width * shards))
        _check_lengths(rows, "gallery", metric)
        block = lay(rows, width * shards, by_rows)
        # One block is laid while the one before is searched, and no more.
        jax.block_until_ready(best)
        best = [
            _search(tile, *block, first, *old, wanted=wanted, mesh=mesh)
            for tile, old in zip(tiles, best, strict=True)
        ]
    return np.concatenate([np.asarray(indices) for _, indices in best])[: len(queries)]


def _laid(
    rows: np.ndarray, size: int, sharding: NamedSharding, *, centre: np.ndarray, cosine: bool
) -> tuple[jax.Array, jax.Array]:
    """Rows filled up to a size and laid on the devices, and their squared lengths."""
    full = np.zeros((size, rows.shape[1]), np.float32)
    np.subtract(_wide(rows), centre, out=full[: len(rows)], casting="same_kind")
    return _measured(jax.device_put(full, sharding), len(rows), cosine=cosine)


@functools.partial(jax.jit, static_argnames="cosine")
def _measured(rows: jax.Array, count: jax.Array, *, cosine: bool) -> tuple[jax.Array, jax.Array]:
    """Rows, of length one if so wished, and squared lengths; what fills them up is far away."""
    squares = jnp.sum(rows**2, axis=1)
    if cosine:
        rows = rows / jnp.sqrt(jnp.where(squares > 0, squares, 1))[:, None]
        squares = jnp.ones_like(squares)
    return rows, jnp.where(jnp.arange(len(rows)) < count, squares, jnp.inf)


@functools.partial(jax.jit, static_argnames=("wanted", "mesh"))
def _search(
    queries: jax.Array,
    points: jax.Array,
    squares: jax.Array,
    first: jax.Array,
    values: jax.Array,
    indices: jax.Array,
    *,
    wanted: int,
    mesh: Mesh,
) -> tuple[jax.Array, jax.Array]:
    """The best [queries, wanted] of those so far and of a block whose rows count from `first`."""

    def search_shard(queries: jax.Array, points: jax.Array, squares: jax.Array) -> tuple:
        products = jnp.matmul(queries, points.T, precision=jax.lax.Precision.HIGHEST)
        best, places = _largest(products, squares, min(wanted, len(points)))
        return best, places + len(points) * jax.lax.axis_index("data")

    rows, columns = PartitionSpec("data"), PartitionSpec(None, "data")
    search_all = jax.shard_map(
        search_shard, mesh=mesh, in_specs=(PartitionSpec(), rows, rows), out_specs=columns
    )
    best, places = search_all(queries, points, squares)
    # What is at the same distance stays in the order of rows.
    values = jnp.concatenate([values, best], axis=1)
    indices = jnp.concatenate([indices, places + first], axis=1)
    values, order = jax.lax.top_k(values, wanted)
    return values, jnp.take_along_axis(indices, order, axis=1)


def _largest(products: jax.Array, squares: jax.Array, wanted: int) -> tuple[jax.Array, jax.Array]:
    """The largest of twice the products less the squares, which rank as the distances do.

    The `wanted` blocks with the largest maxima hold them all.
    """
    count, width = products.shape
    if wanted * _BLOCK >= width:
        values, places = jax.lax.top_k(2 * products - squares[None], wanted)
        return values, places
    blocks = products.reshape(count, -1, _BLOCK)
    squares = squares.reshape(-1, _BLOCK)
    _, chosen = jax.lax.top_k(jnp.max(2 * blocks - squares[None], axis=2), wanted)
    chosen = jnp.sort(chosen, axis=1)
    inside = 2 * jnp.take_along_axis(blocks, chosen[:, :, None], axis=1) - squares[chosen]
    values, places = jax.lax.top_k(inside.reshape(count, -1), wanted)
    block = jnp.take_along_axis(chosen, places // _BLOCK, axis=1)
    return values, block * _BLOCK + places % _BLOCK


def _refined(
    queries: np.ndarray,
    gallery: np.ndarray | Int8Gallery,
    candidates: np.ndarray,
    own: np.ndarray | None,
    *,
    k: int,
    metric: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Distances and indices [n, k] of the nearest candidates, from differences."""
    count, wanted = candidates.shape
    distances, indices = np.empty((count, k), np.float32), np.empty((count, k), np.int32)
    step = max(1, _REFINED // wanted)
    for tile in (slice(start, start + step) for start in range(0, count, step)):
        # In the order of rows, which a stable sort keeps where distances are equal.
        places = np.sort(candidates[tile], axis=1)
        sought, found = _wide(queries[tile]), _rows(gallery, places.ravel())
        if metric == "cosine":
            sought, found = (
                rows / np.linalg.norm(rows, axis=1)[:, None] for rows in (sought, found)
            )
        gaps = found.reshape(*places.shape, -1) - sought[:, None]
        squares = np.einsum("qcd,qcd->qc", gaps, gaps)
        if own is not None:
            squares[places == own[tile][:, None]] = np.inf
        order = np.argsort(squares, axis=1, kind="stable")[:, :k]
        indices[tile] = np.take_along_axis(places, order, axis=1)
        nearest_squares = np.take_along_axis(squares, order, axis=1)
        # Of unit vectors the squared distance is 2 - 2 cos.
        distances[tile] = nearest_squares / 2 if metric == "cosine" else np.sqrt(nearest_squares)
    return distances, indices
