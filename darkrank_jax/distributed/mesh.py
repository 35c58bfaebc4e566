"""The devices of a run: one mesh with one axis, over which the batch is split."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from darkrank_jax.errors import UserError


def make_mesh(batch_size: int, devices: Sequence[Any] | None = None, where: str = "data") -> Mesh:
    """A mesh over devices, of all processes, whose axis `data` splits the batch.

    Args:
      batch_size: rows of a global batch.
      devices: that take part; None: all.
      where: the config field that holds the batch size.

    Returns:
      A mesh with automatic axes: relations between rows on different devices stay whole.

    Raises:
      UserError: the devices do not divide the batch.

    Example:
      >>> make_mesh(128).axis_names
      ('data',)
      >>> make_mesh(3, jax.devices()[:1]).size
      1
    """
    devices = jax.devices() if devices is None else devices
    if batch_size % len(devices):
        raise UserError(
            f"{where}.batch_size: {batch_size} images do not divide over {len(devices)} devices; "
            f"give a multiple of {len(devices)}"
        )
    # Rows of one process lie side by side, in the order of the batch.
    ordered = sorted(devices, key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(ordered), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_rows(mesh: Mesh) -> NamedSharding:
    """The first axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def put(tree: Any, sharding: NamedSharding) -> Any:
    """Lays a tree of arrays on the devices.

    Args:
      tree: what this process has: of arrays that are split its own rows, of others the whole.
      sharding: from `replicated` or `by_rows`.

    Returns:
      The tree of global arrays.
    """
    return jax.make_array_from_process_local_data(sharding, tree)
