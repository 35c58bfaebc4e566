"""Exact nearest neighbours in tiles, over any number of devices, in bounded memory."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int

from darkrank_jax.errors import UserError, nearest
from darkrank_jax.evaluation.gallery_rows import (
    Int8Gallery,
    Rows,
    at_least_float32,
    float_rows,
    stored_array,
)
from darkrank_jax.evaluation.inputs import (
    check_dimensions,
    check_directions,
    check_rows,
    unit,
)

METRICS = ("euclidean", "cosine")
# Queries and gallery rows (on each device) of one tile. A CPU is fastest while the tile's distances
# stay in its cache, an accelerator when it has much to do at once.
CPU_TILE, _TILE = (256, 16384), (2048, 65536)
# Queries that search the gallery in one pass.
PASS = 65536
# Columns of which only the largest is looked at first.
_BLOCK = 64
# Neighbours found beyond k, so that rounding in the products costs none of the k.
_SPARE = 8
# Rows compared at once when the distances of what was found are computed.
_REFINED = 2048
_EPSILON = float(np.finfo(np.float32).eps)
# Queries and gallery rows of one tile of the search in float64.
EXACT_TILE = (64, 16384)


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
    of 64 columns with the largest maxima hold them. A query whose last candidate is no farther than
    the k-th neighbour by the rounding error of the inner products, as in a tight cluster, may have
    others: it searches the gallery once more, on the host in float64.

    Memory beyond the arrays given: the queries of a pass, at most 65,536 rows of float32; six
    blocks of the gallery, of 16,384 rows on a CPU, of 65,536 rows for each accelerator, half of
    them on it; the distances of a tile, 16 MiB, on an accelerator 512 MiB; and 16 (k + 9) bytes a
    query.
    For rows of 512 numbers on a CPU that is 0.35 GiB and 16 (k + 9) n bytes, whatever the size of
    the gallery, which may be a memory map. A gallery of bfloat16 or an `Int8Gallery` takes a half
    or a quarter of float32's memory, and distances are those to the rounded rows: of the 10 nearest
    among 100,000 they find .994 and .980 (`experiments/evaluation_speed`).

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
    count = len(stored_array(gallery))
    # Distances do not change with the origin, but their rounding error does; any will do that is
    # among the rows.
    sample = float_rows(gallery, slice(None, None, -(-count // 4096)))
    centre = np.zeros(sought.shape[1], np.float32)
    if metric == "euclidean":
        centre = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    mesh = Mesh(np.array(devices or jax.local_devices()), ("data",), axis_types=(AxisType.Auto,))
    wanted = min(k + exclude_self + _SPARE, count)
    found = []
    for start in range(0, len(sought), PASS):
        rows = sought[start : start + PASS]
        candidates, last = _candidates(
            rows, gallery, centre, metric=metric, wanted=wanted, mesh=mesh
        )
        # No row has the index -1.
        own = np.arange(start, start + len(rows)) if exclude_self else np.full(len(rows), -1)
        distances, indices = _refined(rows, gallery, candidates, own, k=k, metric=metric)
        if wanted < count:
            limits, sure = _limits(rows, centre, last, distances[:, -1], metric=metric)
            unsure, size = np.flatnonzero(~sure), EXACT_TILE[0]
            for tile in (unsure[at : at + size] for at in range(0, len(unsure), size)):
                distances[tile], indices[tile] = _exact(
                    rows[tile], gallery, centre, own[tile], limits[tile], k=k, metric=metric
                )
        found.append((distances, indices))
    all_distances, all_indices = zip(*found, strict=True)
    return np.concatenate(all_distances), np.concatenate(all_indices)


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
    count = len(stored_array(gallery))
    check_dimensions(queries=queries.shape, gallery=stored_array(gallery).shape)
    if not count:
        raise UserError("gallery: must have at least one row (got none)")
    most = count - exclude_self
    if not 1 <= k <= most:
        raise UserError(f"k: must be 1 to {most}, the rows to be found (got {k})")
    if exclude_self and len(queries) != count:
        raise UserError(
            f"exclude_self: {len(queries)} queries are not the {count} rows of the gallery; "
            "give the same set twice"
        )
    _check_lengths(at_least_float32(queries), "queries", metric)


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


def _candidates(
    queries: np.ndarray,
    gallery: np.ndarray | Int8Gallery,
    centre: np.ndarray,
    *,
    metric: str,
    wanted: int,
    mesh: Mesh,
) -> tuple[np.ndarray, np.ndarray]:
    """The rows [n, wanted] that are nearest by inner products, and how near the last [n] is."""
    count, shards = len(stored_array(gallery)), mesh.size
    height, width = CPU_TILE if mesh.devices.flat[0].platform == "cpu" else _TILE
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
        rows = float_rows(gallery, slice(first, first + width * shards))
        _check_lengths(rows, "gallery", metric)
        block = lay(rows, width * shards, by_rows)
        # One block is laid while the one before is searched, and no more.
        jax.block_until_ready(best)
        best = [
            search_tile(tile, *block, first, *old, wanted=wanted, mesh=mesh)
            for tile, old in zip(tiles, best, strict=True)
        ]
    values, indices = (
        np.concatenate([np.asarray(part) for part in parts])[: len(queries)]
        for parts in zip(*best, strict=True)
    )
    return indices, values[:, -1]


def _laid(
    rows: np.ndarray, size: int, sharding: NamedSharding, *, centre: np.ndarray, cosine: bool
) -> tuple[jax.Array, jax.Array]:
    """Rows filled up to a size and laid on the devices, and their squared lengths."""
    full = np.zeros((size, rows.shape[1]), np.float32)
    np.subtract(at_least_float32(rows), centre, out=full[: len(rows)], casting="same_kind")
    return with_squares(jax.device_put(full, sharding), len(rows), cosine=cosine)


@functools.partial(jax.jit, static_argnames="cosine")
def with_squares(rows: jax.Array, count: jax.Array, *, cosine: bool) -> tuple[jax.Array, jax.Array]:
    """Rows, of length one if `cosine`, and squared lengths; padding rows are infinitely long."""
    if cosine:
        # By a power of 2, which rounds nothing, so that no square vanishes.
        exponents = jnp.frexp(jnp.max(jnp.abs(rows), axis=1, keepdims=True))[1]
        rows = jnp.ldexp(rows, -exponents)
    squares = jnp.sum(rows**2, axis=1)
    if cosine:
        rows = rows / jnp.sqrt(jnp.where(squares > 0, squares, 1))[:, None]
        squares = jnp.ones_like(squares)
    return rows, jnp.where(jnp.arange(len(rows)) < count, squares, jnp.inf)


@functools.partial(jax.jit, static_argnames=("wanted", "mesh"))
def search_tile(
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
    # Rows at the same distance stay in the order of the gallery.
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
    own: np.ndarray,
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
        sought = _comparable(at_least_float32(queries[tile]), metric)
        found = _comparable(float_rows(gallery, places.ravel()), metric)
        gaps = found.reshape(*places.shape, -1) - sought[:, None]
        squares = np.einsum("...d,...d->...", gaps, gaps)
        squares[places == own[tile][:, None]] = np.inf
        order = np.argsort(squares, axis=1, kind="stable")[:, :k]
        indices[tile] = np.take_along_axis(places, order, axis=1)
        distances[tile] = _distances(np.take_along_axis(squares, order, axis=1), metric)
    return distances, indices


def _comparable(rows: np.ndarray, metric: str) -> np.ndarray:
    """Rows as their distances are computed: of length one where the metric is cosine."""
    return unit(rows) if metric == "cosine" else rows


def _distances(squares: np.ndarray, metric: str) -> np.ndarray:
    """Distances by the metric; of unit vectors the squared distance is 2 - 2 cos."""
    return squares / 2 if metric == "cosine" else np.sqrt(squares)


def _limits(
    queries: np.ndarray, centre: np.ndarray, last: np.ndarray, farthest: np.ndarray, *, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """How far squared [n] a neighbour can be at most, and whether all such are candidates.

    Args:
      queries: [n, dim].
      centre: [dim].
      last: [n], twice the inner product less the squared length of the last candidate.
      farthest: [n], the distance of the k-th of the candidates.
      metric: "euclidean" or "cosine".
    """
    dim = queries.shape[1]
    if metric == "cosine":
        lengths, reach = np.ones(len(queries)), 2 * farthest.astype(np.float64)
    else:
        moved = np.subtract(
            at_least_float32(queries), centre, dtype=np.float32, casting="same_kind"
        )
        lengths = np.einsum("nd,nd->n", moved, moved, dtype=np.float64)
        reach = farthest.astype(np.float64) ** 2
    limits = _widened(reach, dim)
    # What is as near as that is no longer than the query and the distance together, which bounds
    # the rounding error of its inner product, a sum of `dim` terms.
    rounding = (dim / 2 + 8) * _EPSILON * (2 * np.sqrt(lengths) + np.sqrt(limits)) ** 2
    # Nothing is nearer than at distance 0.
    return limits, (lengths - last - rounding > limits) | (reach == 0)


def _exact(
    queries: np.ndarray,
    gallery: np.ndarray | Int8Gallery,
    centre: np.ndarray,
    own: np.ndarray,
    limits: np.ndarray,
    *,
    k: int,
    metric: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Distances and indices [n, k] of the nearest of all gallery rows, within squared limits."""
    count, width = len(stored_array(gallery)), EXACT_TILE[1]
    sought = _comparable(at_least_float32(queries), metric)
    moved = sought - centre.astype(np.float64)
    lengths = np.einsum("nd,nd->n", moved, moved)
    # What float64 rounds is far below what float32 rounds in the distances.
    slack = 1e-12 * (2 * np.sqrt(lengths) + np.sqrt(limits)) ** 2
    line = np.repeat(np.arange(len(queries)), k)
    squares, places = np.full(len(line), np.inf), np.full(len(line), count)
    for first in range(0, count, width):
        found = _comparable(float_rows(gallery, slice(first, first + width)), metric)
        points = found - centre.astype(np.float64)
        reach = lengths[:, None] + np.einsum("nd,nd->n", points, points) - 2 * (moved @ points.T)
        if k < len(found):
            # One more than are sought: the query itself may be among them.
            kth = np.partition(reach, k, axis=1)[:, k]
            limits = np.minimum(limits, _widened(np.maximum(kth, 0), queries.shape[1]) + slack)
        near, columns = np.nonzero(reach <= (limits + slack)[:, None])
        near, columns = (part[own[near] != first + columns] for part in (near, columns))
        parts = [squares]
        for pairs in (slice(at, at + _REFINED) for at in range(0, len(near), _REFINED)):
            gaps = found[columns[pairs]] - sought[near[pairs]]
            parts.append(np.einsum("...d,...d->...", gaps, gaps))
        line, places = np.append(line, near), np.append(places, first + columns)
        squares = np.concatenate(parts)
        order = np.lexsort((places, squares, line))
        starts = np.searchsorted(line[order], np.arange(len(queries)))
        best = order[(starts[:, None] + np.arange(k)).ravel()]
        line, squares, places = line[best], squares[best], places[best]
    shape = len(queries), k
    return _distances(squares, metric).reshape(shape), places.reshape(shape)


def _widened(squares: np.ndarray, dim: int) -> np.ndarray:
    """Squared distances [n] and what float32 may have rounded off two such."""
    return squares * (1 + (dim + 8) * _EPSILON)
