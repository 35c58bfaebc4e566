"""What every loss promises, over the whole table and over the options that change how it works."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from darkrank_jax import losses
from darkrank_jax.losses.internals import tiles
from tests.losses.batches import (
    BATCH,
    QUICK,
    RANDOM,
    SCORES,
    VARIANTS,
    arrays_of,
    call_of,
    inputs_of,
    over,
)

# The one loss that looks at rows which follow each other.
ORDERED = {"correlation_congruence"}
# Those that see distances of embeddings as given.
OF_DISTANCES = [
    "darkrank_hard mean", "darkrank_soft", "lmnn", "relaxed_contrastive", "rkd_angle",
    "rkd_distance", "similarity_match",
]  # fmt: skip
# Zero, and so the minimum, when student and teacher are the same.
ZERO_AT_TEACHER = [
    name
    for name, (loss, _) in VARIANTS.items()
    if any(array.startswith("teacher") for array in losses.LOSSES[loss].inputs)
    and loss not in ("darkrank_hard", "relaxed_contrastive", "vicreg")
]


every_variant = over(VARIANTS)
IN_ANY_ORDER = [name for name in VARIANTS if name not in RANDOM | ORDERED]
# Those that run a program no other test compiles.
some_losses = over(losses.LOSSES, quick=QUICK)


@functools.cache
def function_of(variant):
    """(arrays by name, where) -> value of the loss."""
    name, options = VARIANTS[variant]
    options = dict(options)
    if variant in RANDOM:
        options["key"] = jax.random.key(3)
    function, inputs = losses.LOSSES[name]

    def evaluate(floats, labels, where):
        arrays = jax.tree.map(jnp.asarray, floats | {"labels": labels})
        return function(*inputs_of(arrays, inputs, options), where=where, **options)

    return evaluate


@functools.cache
def compiled(variant):
    return jax.jit(jax.value_and_grad(function_of(variant)))


def split(variant, arrays):
    inputs = losses.LOSSES[VARIANTS[variant][0]].inputs
    return {name: arrays[name] for name in inputs if name != "labels"}, arrays["labels"]


def run(variant, arrays, where=None):
    where = np.ones(len(arrays["labels"]), bool) if where is None else where
    value, gradients = compiled(variant)(*split(variant, arrays), where)
    return np.asarray(value), {name: np.asarray(g) for name, g in gradients.items()}


def rows_of(arrays, index):
    return {name: a if name == "class_weights" else a[index] for name, a in arrays.items()}


@over(IN_ANY_ORDER)
def test_the_order_of_the_batch_does_not_matter(variant):
    if "num_anchors" in VARIANTS[variant][1]:
        order = np.array([4, 2, 0, 1, 3, 7, 5, 6])  # queries stay among the first
    else:
        order = np.random.default_rng(1).permutation(BATCH)
    arrays = arrays_of()
    value, gradients = run(variant, arrays)
    permuted, permuted_gradients = run(variant, rows_of(arrays, order))
    np.testing.assert_allclose(permuted, value, rtol=2e-5)
    for name, gradient in rows_of(gradients, order).items():
        np.testing.assert_allclose(permuted_gradients[name], gradient, rtol=1e-3, atol=1e-5)


@every_variant
def test_what_stands_in_a_masked_row_does_not_matter(variant):
    where = np.arange(BATCH) != 2
    arrays = arrays_of()
    value, gradients = run(variant, arrays, where)
    spoilt = {name: a.copy() for name, a in arrays.items()}
    for name, array in spoilt.items():
        if name != "class_weights":
            array[2] = 1 if name == "labels" else np.nan
    spoilt_value, spoilt_gradients = run(variant, spoilt, where)
    assert value > 0
    assert spoilt_value == value
    for name, gradient in spoilt_gradients.items():
        np.testing.assert_array_equal(gradient, gradients[name])
        if name != "class_weights":
            assert not gradient[2].any()


@over(IN_ANY_ORDER, quick=QUICK)
def test_a_masked_row_is_a_row_that_is_not_there(variant):
    arrays, last = arrays_of(), BATCH - 1
    value, _ = run(variant, arrays, np.arange(BATCH) != last)
    without = rows_of(arrays, slice(0, last))
    expected = jax.jit(function_of(variant))(*split(variant, without), np.ones(last, bool))
    np.testing.assert_allclose(value, expected, rtol=2e-5)


@over(OF_DISTANCES, quick=QUICK)
def test_far_from_the_origin_a_masked_row_is_still_not_there(variant):
    """Were it part of the centre, distances would be less than their rounding errors."""
    arrays, half = arrays_of(), np.arange(BATCH) < BATCH // 2
    arrays |= {name: a + 4000 for name, a in arrays.items() if "embeddings" in name}
    value, gradients = run(variant, arrays, half)
    expected, slopes = run(variant, rows_of(arrays, half))
    np.testing.assert_allclose(value, expected, rtol=2e-3)
    slope, found = slopes["embeddings"], gradients["embeddings"][half]
    assert slope.any()
    np.testing.assert_allclose(found, slope, atol=1e-2 * np.abs(slope).max())


@every_variant
def test_nan_in_a_row_that_counts_makes_the_loss_nan(variant):
    """Whoever diverges must see it, instead of a loss that looks like any other."""
    for name in split(variant, arrays_of())[0]:
        for spoilt in (np.s_[1, 1], np.s_[:]):
            arrays = arrays_of()
            arrays[name][spoilt] = np.nan
            value, gradients = run(variant, arrays)
            assert np.isnan(value), (name, spoilt)
            assert any(np.isnan(gradient).any() for gradient in gradients.values())


@every_variant
def test_only_the_student_learns(variant):
    _, gradients = run(variant, arrays_of())
    for name, gradient in gradients.items():
        assert gradient.any() != name.startswith("teacher"), name


@over(["darkrank_hard", "darkrank_hard mean", "rkd_angle", "smooth_ap"], quick={"darkrank_hard"})
def test_what_other_platforms_compute_is_what_a_cpu_computes(variant, monkeypatch):
    arrays, where = arrays_of(), np.arange(BATCH) != 2
    value, gradients = run(variant, arrays, where)
    asked = []

    def elsewhere(*arguments, cpu, default):
        asked.append(cpu)
        return default(*arguments)

    monkeypatch.setattr(jax.lax, "platform_dependent", elsewhere)
    # Three rows to a tile, of which the last one is filled up.
    monkeypatch.setattr(tiles, "FLOATS", 1)
    monkeypatch.setattr(tiles, "DEVICES", 3)
    alone = jax.jit(jax.value_and_grad(function_of.__wrapped__(variant)))
    there, gradients_there = alone(*split(variant, arrays), where)
    assert asked
    np.testing.assert_allclose(there, value, rtol=2e-6)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradients_there[name], gradient, rtol=1e-4, atol=1e-7)


@over(ZERO_AT_TEACHER)
def test_a_student_like_its_teacher_is_at_the_minimum(variant):
    arrays = arrays_of()
    for name in list(arrays):
        if name.startswith("teacher"):
            student = name.removeprefix("teacher_")
            arrays[name] = arrays["student_scores" if student == "scores" else student]
    value, gradients = run(variant, arrays)
    np.testing.assert_allclose(value, 0, atol=1e-6)
    for gradient in gradients.values():
        np.testing.assert_allclose(gradient, 0, atol=2e-5)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@some_losses
def test_half_precision_gives_float32(variant, dtype):
    floats, labels = split(variant, arrays_of())
    halves = {name: jnp.asarray(a, dtype) for name, a in floats.items()}
    value = jax.jit(function_of(variant))(halves, labels, np.ones(BATCH, bool))
    assert value.dtype == jnp.float32
    exact = {name: np.asarray(a, np.float32) for name, a in halves.items()}
    np.testing.assert_allclose(value, run(variant, exact | {"labels": labels})[0], rtol=1e-5)


DEGENERATE = {
    "duplicates": lambda name, a: np.broadcast_to(a[:1], a.shape),
    "two duplicates": lambda name, a: np.concatenate([a[:1], a[:1], a[2:]]),
    "zeros": lambda name, a: np.zeros_like(a),
    "one class": lambda name, a: np.ones_like(a) if name == "labels" else a,
    "all classes differ": lambda name, a: (
        np.arange(BATCH, dtype=a.dtype) if name == "labels" else a
    ),
    "huge": lambda name, a: a if name == "labels" else 1e4 * a,
    "tiny": lambda name, a: a if name == "labels" else 1e-18 * a,
}


@pytest.mark.parametrize("kind", DEGENERATE)
@every_variant
def test_degenerate_batches_stay_finite(variant, kind):
    arrays = {
        name: a
        if name == "class_weights" or (name == "labels" and "dup" in kind)
        else np.ascontiguousarray(DEGENERATE[kind](name, a))
        for name, a in arrays_of().items()
    }
    value, gradients = run(variant, arrays)
    assert np.isfinite(value)
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())


@every_variant
def test_nothing_valid_gives_zero(variant):
    value, gradients = run(variant, arrays_of(), np.zeros(BATCH, bool))
    assert value == 0
    assert not any(gradient.any() for gradient in gradients.values())


@every_variant
def test_one_valid_row_stays_finite(variant):
    value, gradients = run(variant, arrays_of(), np.arange(BATCH) == 3)
    assert np.isfinite(value)
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())


@some_losses
def test_a_batch_of_one_stays_finite(variant):
    value, gradients = run(variant, arrays_of(batch=1))
    assert np.isfinite(value)
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())


@some_losses
def test_vmap(variant):
    batches = [arrays_of(seed=seed) for seed in (0, 1)]
    stacked = {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
    where = np.ones((2, BATCH), bool)
    values = jax.jit(jax.vmap(function_of(variant)))(*split(variant, stacked), where)
    np.testing.assert_allclose(values, [run(variant, batch)[0] for batch in batches], rtol=2e-5)


@some_losses
def test_four_devices_give_the_value_of_one(variant):
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    arrays = arrays_of()
    sharded = {
        name: jax.device_put(
            a, NamedSharding(mesh, PartitionSpec(*([] if name == "class_weights" else ["data"])))
        )
        for name, a in arrays.items()
    }
    value, gradients = run(variant, arrays)
    spread, spread_gradients = compiled(variant)(*split(variant, sharded), np.ones(BATCH, bool))
    np.testing.assert_allclose(spread, value, rtol=2e-5)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(spread_gradients[name], gradient, rtol=1e-3, atol=1e-5)


# Their gradient is a rule of their own, for reverse mode alone.
REVERSE_ONLY = {"lmnn", "rkd_angle", "smooth_ap", "triplet"}


def student_and_rest(variant):
    inputs = (
        ("student_scores", "teacher_scores")
        if variant in SCORES
        else losses.LOSSES[VARIANTS[variant][0]].inputs
    )
    arrays = jax.tree.map(jnp.asarray, arrays_of())
    return inputs[0], arrays


@over([*VARIANTS, *SCORES], quick=QUICK)
def test_forward_mode_is_there_but_for_the_losses_that_say_so(variant):
    name, arrays = student_and_rest(variant)
    call, x = call_of(variant), arrays[name]

    @jax.jit
    def slope(x):
        return jax.jvp(lambda x: call(arrays | {name: x}), (x,), (x,))[1]

    # Known when it is lowered; to compile it says no more.
    if variant in REVERSE_ONLY:
        with pytest.raises(TypeError, match="forward-mode"):
            slope.lower(x)
    else:
        assert slope.lower(x).out_info.shape == ()


@over(sorted(REVERSE_ONLY), quick={"rkd_angle"})
def test_reverse_over_reverse_is_the_change_of_the_gradient(x64, variant):
    name, arrays = student_and_rest(variant)
    call = call_of(variant)
    options = {"temperature": 0.5} if variant == "smooth_ap" else {}
    x = jnp.asarray(arrays[name], jnp.float64)
    direction = jnp.asarray(np.random.default_rng(3).normal(size=x.shape))
    gradient = jax.grad(lambda x: call(arrays | {name: x}, **options))
    product = jax.jit(jax.grad(lambda x: jnp.vdot(gradient(x), direction)))(x)
    gradient, step = jax.jit(gradient), 1e-5
    expected = (gradient(x + step * direction) - gradient(x - step * direction)) / (2 * step)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(product, expected, atol=1e-6 * np.abs(expected).max())
