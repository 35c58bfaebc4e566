"""Digits of losses on close pairs: float32 against float64, and what differences cost in memory."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from darkrank_jax import losses
from tests.losses.batches import relative, tight

# Every loss on distances between embeddings, with margins that close pairs do not meet.
CASES = {
    "compatible_ranking": ("compatible_ranking", {}),
    "contrastive": ("contrastive", {"neg_margin": 1.6}),
    "contrastive of anchors": ("contrastive", {"num_anchors": 7}),
    "correlation_congruence": ("correlation_congruence", {"kernel": "gaussian"}),
    "darkrank_hard": ("darkrank_hard", {"list_size": 6, "beta": 1.0}),
    "darkrank_soft": ("darkrank_soft", {"list_size": 6, "beta": 1.0}),
    "darkrank_soft mean": ("darkrank_soft", {"calibration": "mean"}),
    "fast_ap": ("fast_ap", {}),
    "lifted_structure": ("lifted_structure", {}),
    "lmnn": ("lmnn", {"margin": 3.0}),
    "margin": ("margin", {"beta": 0.0}),
    "relaxed_contrastive": ("relaxed_contrastive", {}),
    "rkd_angle": ("rkd_angle", {}),
    "rkd_distance": ("rkd_distance", {}),
    "similarity_match": ("similarity_match", {}),
    "triplet": ("triplet", {"margin": 2.0}),
    "triplet hard": ("triplet", {"margin": 2.0, "mining": "hard"}),
}
# One loss of each form of distances, at the longest sums, which are the worst rounded.
QUICK = {"contrastive", "darkrank_soft", "rkd_angle", "rkd_distance", "triplet hard"}
SIZED = [
    pytest.param(case, dim, marks=() if dim == 512 and case in QUICK else pytest.mark.slow)
    for case in CASES
    for dim in (32, 128, 512)
]


def arrays_of(name, dim, gap):
    arrays = {
        "embeddings": tight(dim, gap, 0),
        "teacher_embeddings": tight(dim, gap, 1),
        "labels": np.repeat(np.arange(3, dtype=np.int32), 4),
    }
    return [arrays[key] for key in losses.LOSSES[name].inputs]


@pytest.mark.parametrize(("case", "dim"), SIZED)
def test_float32_gradient_on_close_pairs_has_three_digits(case, dim):
    name, options = CASES[case]
    function = losses.LOSSES[name].function
    slope = jax.jit(jax.grad(lambda first, second: function(first, second, **options)))
    for gap in (1e-3, 1e-2, 1.0):
        arrays = arrays_of(name, dim, gap)
        found = slope(*map(jnp.asarray, arrays))
        with jax.enable_x64(True):
            wide = [a.astype(float) if a.dtype.kind == "f" else a for a in arrays]
            exact = np.asarray(slope(*map(jnp.asarray, wide)))
        assert exact.dtype == np.float64
        assert np.abs(exact).max() > 0
        assert relative(found, exact) < 1e-3, gap


@pytest.mark.parametrize("case", ["contrastive of anchors", "rkd_distance", "rkd_angle"])
def test_memory_is_that_of_a_few_matrices_of_the_batch(case):
    batch, dim = 128, 512
    name, options = CASES[case]
    function, inputs = losses.LOSSES[name]
    rows = jax.ShapeDtypeStruct((batch, dim), np.float32)
    second = jax.ShapeDtypeStruct((batch,), np.int32) if "labels" in inputs else rows
    loss = jax.jit(jax.value_and_grad(lambda x, y: function(x, y, **options)))
    size = loss.lower(rows, second).compile().memory_analysis().temp_size_in_bytes
    assert size < 4 * (16 * batch**2 + 8 * batch * dim)  # batch^2 * dim: 32 times the first term


def test_on_several_devices_no_loop_of_distances_waits_for_another_device():
    batch, devices = 72, 4
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))
    rows = NamedSharding(mesh, P("data"))
    shape = jax.ShapeDtypeStruct((batch, 16), np.float32)
    loss = jax.jit(jax.grad(losses.rkd_distance_loss), in_shardings=(rows, rows))
    program = loss.lower(shape, shape).compile().as_text()
    assert not re.findall(rf"f32\[(?:\d+,)?{batch},{batch}[\],].*", program)
    computations = re.split(r"\n(?=\S)", program)
    waiting = r" (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)[-\w]*\("
    found = [each for each in computations if re.search(waiting, each)]
    assert found
    assert all(each.startswith("ENTRY") for each in found)
