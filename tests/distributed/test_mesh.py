"""Meshes of devices, and arrays laid on them."""

import jax
import numpy as np
import pytest

from darkrank_jax.distributed.mesh import by_rows, make_mesh, put, replicated
from darkrank_jax.errors import UserError


def test_devices_are_in_the_order_of_their_numbers():
    devices = jax.devices()[:3]
    mesh = make_mesh(6, [devices[2], devices[0], devices[1]])
    assert list(mesh.devices) == devices
    assert mesh.axis_names == ("data",)


def test_a_batch_that_devices_do_not_divide_is_refused_with_its_field():
    line = r"^teacher\.data\.batch_size: 7 images do not divide over 3 devices; .* multiple of 3$"
    with pytest.raises(UserError, match=line):
        make_mesh(7, jax.devices()[:3], "teacher.data")


def test_rows_are_split_in_order_and_other_arrays_are_whole_on_each_device():
    mesh, rows = make_mesh(8, jax.devices()[:4]), np.arange(24).reshape(8, 3)
    laid = put({"rows": rows}, by_rows(mesh))["rows"]
    for number, shard in enumerate(laid.addressable_shards):
        np.testing.assert_array_equal(shard.data, rows[2 * number : 2 * number + 2])
    whole = put(rows, replicated(mesh))
    assert len(whole.addressable_shards) == 4
    for shard in whole.addressable_shards:
        np.testing.assert_array_equal(shard.data, rows)
