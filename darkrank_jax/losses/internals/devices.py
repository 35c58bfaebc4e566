"""Losses on several devices: on meshes of any kind, and inside `shard_map` and `pmap`."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

Function = TypeVar("Function", bound=Callable[..., Any])


def on_any_mesh(loss: Function) -> Function:
    """Lets a function take arrays that are split over explicit axes of a mesh.

    `jax.make_mesh` makes explicit axes by default: how an array is split is then part of its type,
    and an operation whose result has two axes split alike is refused, as every matrix of relations
    is. The function is computed with automatic axes instead; its result is on all devices. Arrays
    of other meshes, or of one device, are handed on as they are.

    Args:
      loss: a function of arrays and of arguments that are none.

    Returns:
      The function, with the same arguments.
    """

    @functools.wraps(loss)
    def on_mesh(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = jax.tree.flatten((args, kwargs))
        arrays = {place: leaf for place, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)}
        mesh = _explicit_mesh(arrays.values())
        if mesh is None:
            return loss(*args, **kwargs)

        def automatic(arrays: dict[int, jax.Array]) -> Any:
            given = [arrays.get(place, leaf) for place, leaf in enumerate(leaves)]
            positional, named = jax.tree.unflatten(tree, given)
            return loss(*positional, **named)

        whole = NamedSharding(mesh, PartitionSpec())
        axes = tuple(n for n, k in _kinds(mesh).items() if k is AxisType.Explicit)
        return jax.sharding.auto_axes(automatic, axes=axes, out_sharding=whole)(arrays)

    return on_mesh  # pyright: ignore[reportReturnType]


def _explicit_mesh(arrays: Iterable[jax.Array]) -> Any:
    """The mesh over whose explicit axes some array is split; None where none is."""
    for array in arrays:
        sharding: Any = jax.typeof(array).sharding
        named = {name for part in sharding.spec for name in _names(part)}
        kinds = _kinds(sharding.mesh)
        if any(kinds[name] is AxisType.Explicit for name in named):
            return sharding.mesh
    return None


def _names(part: Any) -> tuple[str, ...]:
    """The axes of a mesh over which one axis of an array is split."""
    if part is None or isinstance(part, str):
        return (part,) if part else ()
    return tuple(part)


def _kinds(mesh: Any) -> dict[str, AxisType]:
    """The kind of each axis of a mesh."""
    return dict(zip(mesh.axis_names, mesh.axis_types, strict=True))


def gather_rows(rows: Any, axis_name: str) -> Any:
    """The rows of all devices on each of them, in the order of the devices.

    For losses inside `jax.shard_map`; under `jax.jit` with a batch that is split over a mesh they
    need nothing, and XLA keeps no more than its own rows of a relation on a device. Here every
    device computes the whole loss. Its value is that of the whole batch, the same on all devices,
    and the gradient with respect to a device's rows is theirs alone; of parameters that all devices
    share, `shard_map` sums it.

    Args:
      rows: an array [batch / devices, ...], or a tree of them: whatever of a loss's arguments has
        one row for each image, `where` too.
      axis_name: of the mesh, over which the rows are split.

    Returns:
      Arrays [batch, ...].

    Example:
      >>> from jax.sharding import AxisType, PartitionSpec as P
      >>> from darkrank_jax.losses import supcon_loss
      >>> def loss(embeddings, labels):
      ...     return supcon_loss(*gather_rows((embeddings, labels), "data"))
      >>> mesh = jax.make_mesh(
      ...     (2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
      >>> split = jax.shard_map(loss, mesh=mesh, in_specs=P("data"), out_specs=P())
      >>> embeddings = jnp.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
      >>> labels = jnp.array([0, 1, 0, 1])
      >>> value = jax.jit(split)(embeddings, labels)
      >>> bool(jnp.isclose(value, supcon_loss(embeddings, labels)))
      True

    Deviations: with `check_vma=False`, and in `pmap`, JAX sums a gradient that is taken inside over
    the devices' copies of the loss; `jax.lax.pmean` of that of parameters, which all devices share,
    is that of the whole batch.
    """
    return jax.tree.map(lambda array: _gather(array, axis_name), rows)


def _gather(array: jax.Array, axis_name: str) -> jax.Array:
    """A sum of each device's rows among zeros: unlike `all_gather`, known to be the same on all."""
    if array.dtype == bool:
        return _gather(array.astype(jnp.int8), axis_name).astype(bool)
    count = array.shape[0]
    places = jnp.zeros((jax.lax.axis_size(axis_name) * count, *array.shape[1:]), array.dtype)
    own = jax.lax.axis_index(axis_name) * count
    return jax.lax.psum(jax.lax.dynamic_update_slice_in_dim(places, array, own, 0), axis_name)
