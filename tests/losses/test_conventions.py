"""What docs/losses.md says of conventions that differ between implementations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax import losses
from darkrank_jax.models.convolution import batch_norm
from tests.losses.batches import QUICK, SCORES, VARIANTS, arrays_of, call_of, over

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


def test_smooth_ap_leaves_the_anchor_out_of_its_own_list():
    # The positive ranks second of two: 1 - 1/2. With the anchor first in its list, 1/6.
    x = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]])
    value = losses.smooth_ap_loss(x, jnp.array([0, 0, 1]), num_anchors=1)
    np.testing.assert_allclose(value, 0.5, atol=1e-6)


def test_supcon_on_a_batch_of_one_class_spreads_the_rows():
    x = jnp.asarray(np.random.default_rng(1).normal(size=(5, 3)), jnp.float32)
    labels = jnp.zeros(5, int)
    loss = jax.jit(jax.value_and_grad(losses.supcon_loss))
    alike, _ = loss(jnp.ones([5, 3]), labels)
    np.testing.assert_allclose(alike, np.log(4), rtol=1e-6)
    assert loss(x, labels)[1].any()


def test_arcface_falls_all_the_way_to_the_opposite_of_the_class_without_a_jump():
    angles, margin, scale = np.linspace(0.01, np.pi - 0.01, 400), 0.5, 4.0
    x = jnp.stack([jnp.cos(angles), jnp.sin(angles), jnp.zeros(400)], 1)
    # The other class is at a right angle to all rows, so its logit is 0.
    weights = jnp.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    loss = functools.partial(losses.arcface_loss, margin=margin, scale=scale, reduce_fn=None)
    values = jax.jit(loss)(x, jnp.zeros(400, int), weights)
    own = -np.log(np.expm1(np.asarray(values, float))) / scale
    steps = np.diff(own)
    assert (steps < 0).all()
    assert np.abs(steps).max() < 0.01
    beyond = angles > np.pi - margin
    expected = np.where(beyond, np.cos(angles) - 1 + np.cos(margin), np.cos(angles + margin))
    np.testing.assert_allclose(own, expected, atol=1e-4)


def test_rows_of_the_batch_have_a_gradient_as_items_too_and_those_of_the_memory_none():
    old, new = (jnp.asarray(x) for x in np.random.default_rng(2).normal(size=(2, 3, 4)))
    labels = jnp.array([0, 0, 1])

    def loss(new, old):
        memory = losses.memory.create({"x": new, "labels": labels}, size=3)
        memory = losses.memory.push(memory, {"x": old, "labels": labels})
        rows, where = losses.memory.join(memory, {"x": new, "labels": labels})
        return losses.supcon_loss(rows["x"], rows["labels"], num_anchors=1, where=where)

    of_new, of_old = jax.jit(jax.grad(loss, argnums=(0, 1)))(new, old)
    assert np.abs(of_new).max(1).min() > 0  # rows 1 and 2 are no anchors
    assert not of_old.any()


def test_pkt_adds_one_ten_millionth_in_the_logarithm(x64):
    # Cosines 0 and -1 to the other rows: probabilities 1/3 and 0.
    student, teacher = (jnp.asarray(x) for x in ([[1.0], [-1.0]], [[1.0, 0.0], [0.0, 1.0]]))
    value = losses.pkt_loss(student, teacher)
    own, other = (t * np.log((t + 1e-7) / (s + 1e-7)) for t, s in ((2 / 3, 1.0), (1 / 3, 0.0)))
    np.testing.assert_allclose(value, (own + other) / 2, rtol=1e-9)


def test_the_running_variance_of_batch_norm_is_biased():
    norm = batch_norm(True, jnp.float32, "norm", momentum=0.9)
    x = jnp.array([[1.0], [2.0], [6.0]])
    # The first application initialises; statistics are those of the second alone.
    _, updated = norm.apply(norm.init(jax.random.key(0), x), x, mutable=["batch_stats"])
    np.testing.assert_allclose(
        updated["batch_stats"]["var"], 0.9 * 1 + 0.1 * np.var([1, 2, 6]), rtol=1e-5
    )
