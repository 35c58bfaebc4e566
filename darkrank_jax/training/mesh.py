"""The devices of a run: one mesh with one axis, over which the batch is split."""

from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from darkrank_jax.errors import UserError


def make_mesh(batch_size: int) -> Mesh:
    """A mesh over all local devices, whose axis `data` splits the batch.

    Args:
      batch_size: rows of a global batch.

    Returns:
      A mesh with automatic axes: relations between rows on different devices stay whole.

    Raises:
      UserError: the devices do not divide the batch.

    Example:
      >>> make_mesh(128).axis_names
      ('data',)
    """
    devices = jax.local_device_count()
    if batch_size % devices:
        raise UserError(
            f"data.batch_size: {batch_size} images do not divide over {devices} devices; "
            f"give a multiple of {devices}"
        )
    return jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_rows(mesh: Mesh) -> NamedSharding:
    """The first axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def put(tree: Any, sharding: NamedSharding) -> Any:
    """Lays a tree of host arrays on the devices."""
    return jax.device_put(tree, sharding)
