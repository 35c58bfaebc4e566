"""Losses inside `shard_map`: the rows of all devices, so that relations between them count."""

from typing import Any

import jax
import jax.numpy as jnp


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

    Deviations: with `check_vma=False` take the gradient outside of `shard_map`; inside, JAX then
    sums it over the devices' copies of the loss.
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
