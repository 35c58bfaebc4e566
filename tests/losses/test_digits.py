"""Digits of losses on close pairs: float32 against float64, and what differences cost in memory."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from darkrank_jax import losses
from darkrank_jax.losses import pairwise

CLASSES, PER_CLASS = 3, 4
BATCH = CLASSES * PER_CLASS
# Every loss on distances between embeddings, with margins that close pairs do not meet.
CASES = {
    "compatible_ranking": ("compatible_ranking", {}),
    "contrastive": ("contrastive", {"neg_margin": 1.6}),
    "contrastive of anchors": ("contrastive", {"num_anchors": 7}),
    "correlation_congruence": ("correlation_congruence", {"kernel": "gaussian"}),
    "darkrank_hard": ("darkrank_hard", {"list_size": 6, "beta": 1.0}),
    "darkrank_soft": ("darkrank_soft", {"list_size": 6, "beta": 1.0}),
    "darkrank_soft mean": ("darkrank_soft", {"calibration": "mean"}),
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


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def tight(dim, gap, seed):
    """Unit vectors in classes, those of a class some gap apart."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(unit(rng.normal(size=(CLASSES, dim))), PER_CLASS, axis=0)
    steps = gap * unit(rng.normal(size=(BATCH, dim))) * rng.uniform(0.5, 1, size=(BATCH, 1))
    return unit(centres + steps).astype(np.float32)


def arrays_of(name, dim, gap):
    arrays = {
        "embeddings": tight(dim, gap, 0),
        "teacher_embeddings": tight(dim, gap, 1),
        "labels": np.repeat(np.arange(CLASSES, dtype=np.int32), PER_CLASS),
    }
    return [arrays[key] for key in losses.LOSSES[name].inputs]


def relative(found, exact):
    return np.linalg.norm(np.asarray(found, float) - exact) / np.linalg.norm(exact)


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


@pytest.mark.parametrize("gap", [1e-3, 1.0])
def test_angles_are_those_of_unit_difference_vectors(x64, gap):
    """As RKD's own code takes them."""
    student, teacher = (jnp.asarray(tight(20, gap, seed), jnp.float64) for seed in (0, 1))

    def loss(student):
        angles = []
        for rows in (student, teacher):
            gaps = rows[:, None] - rows[None]
            units = gaps / jnp.sqrt(jnp.square(gaps).sum(-1) + jnp.eye(BATCH))[:, :, None]
            angles.append(jnp.einsum("ijd,ikd->ijk", units, units))
        size = jnp.abs(angles[0] - angles[1])
        return jnp.where(size < 1, 0.5 * size**2, size - 0.5).mean()

    expected, slope = jax.jit(jax.value_and_grad(loss))(student)
    found, found_slope = jax.jit(jax.value_and_grad(losses.rkd_angle_loss))(student, teacher)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert relative(found_slope, np.asarray(slope)) < 1e-9


# More rows than a tile has, and not a multiple of it.
@pytest.mark.parametrize("form", ["self", "anchors", "other"])
@pytest.mark.parametrize("gap", [1e-6, 1e-3, 1.0])
def test_squared_distances_and_both_derivatives_are_those_of_differences(form, gap):
    rng = np.random.default_rng(3)
    x = (unit(rng.normal(size=(1, 17))) + gap * rng.normal(size=(41, 17))).astype(np.float32)
    y = (x[:37] + gap * rng.normal(size=(37, 17))).astype(np.float32)
    left, right = {"self": (x, x), "anchors": (x[:5], x), "other": (x, y)}[form]
    weights = rng.normal(size=(len(left), len(right))).astype(np.float32)
    direction = rng.normal(size=x.shape).astype(np.float32)

    def squares(x):
        if form == "other":
            return pairwise.squared_distances(x, jnp.asarray(y))
        return pairwise.squared_distances(x, num_anchors=5 if form == "anchors" else None)

    gaps = left[:, None].astype(float) - right[None]
    of_left = 2 * (weights[:, :, None] * gaps).sum(1)
    of_right = -2 * (weights[:, :, None] * gaps).sum(0)
    expected = of_left
    if form == "self":
        expected = of_left + of_right
    elif form == "anchors":
        expected = of_right
        expected[:5] += of_left
    value, slopes = jax.jvp(jax.jit(squares), (x,), (direction,))
    (slope,) = jax.vjp(jax.jit(squares), x)[1](weights)
    assert relative(value, (gaps**2).sum(-1)) < 1e-6
    assert relative(slope, expected) < 1e-6
    np.testing.assert_allclose(
        (slopes * weights).sum(), (expected * direction).sum(), rtol=1e-4, atol=1e-5 * gap
    )


def test_gradient_of_the_other_rows_is_that_of_differences():
    rng = np.random.default_rng(4)
    x, y, weights = (
        jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((5, 7), (40, 7), (5, 40))
    )
    slope = jax.jit(jax.grad(lambda y: (weights * pairwise.squared_distances(x, y)).sum()))(y)
    gaps = np.asarray(y, float)[None] - np.asarray(x, float)[:, None]
    assert relative(slope, 2 * (np.asarray(weights)[:, :, None] * gaps).sum(0)) < 1e-6


def test_second_derivatives_are_those_of_differences(x64):
    x = jnp.asarray(np.random.default_rng(5).normal(size=(4, 3)))

    def plain(x):
        return (jnp.square(x[:, None] - x[None]).sum(-1) ** 2).sum()

    def ours(x):
        return (pairwise.squared_distances(x) ** 2).sum()

    exact = jax.jit(jax.hessian(plain))(x)
    np.testing.assert_allclose(jax.jit(jax.hessian(ours))(x), exact, atol=1e-9)
    np.testing.assert_allclose(jax.jit(jax.jacrev(jax.grad(ours)))(x), exact, atol=1e-9)


def test_duplicates_and_zero_vectors_have_zero_distance_and_gradient():
    x = jnp.asarray([[0.0, 0.0], [0.6, 0.8], [0.6, 0.8], [0.0, 0.0]])
    lengths, pull = jax.vjp(jax.jit(pairwise.distances), x)
    assert not lengths[[0, 1], [3, 2]].any()
    same = jnp.zeros([4, 4]).at[[0, 1, 2, 3], [3, 2, 1, 0]].set(1.0)
    assert not pull(same)[0].any()
    assert jnp.isfinite(pull(jnp.ones([4, 4]))[0]).all()


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
