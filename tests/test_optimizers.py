import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax.errors import UserError
from darkrank_jax.optimizers import (
    OPTIMIZERS,
    SCHEDULES,
    decays,
    make_optimizer,
    make_schedule,
)

PARAMS = {
    "conv": {"kernel": jnp.array([[0.5, -2.0], [3.0, 0.25]]), "bias": jnp.array([1.0, -1.0])},
    "norm": {"scale": jnp.array([2.0, 0.5])},
}
GRADIENT = {
    "conv": {"kernel": jnp.array([[0.1, 0.3], [-0.2, 0.7]]), "bias": jnp.array([0.2, 0.4])},
    "norm": {"scale": jnp.array([-0.3, 0.1])},
}


def updates(optimizer, clip_norm=0.0, rate=0.1):
    transform = make_optimizer(optimizer, lambda step: rate, clip_norm)
    return transform.update(GRADIENT, transform.init(PARAMS), PARAMS)[0]


def test_adamw_against_its_formula():
    moved = updates({"name": "adamw", "weight_decay": 0.3, "eps": 1e-4, "b1": 0.8, "b2": 0.95})
    gradient, kernel = np.asarray(GRADIENT["conv"]["kernel"]), np.asarray(PARAMS["conv"]["kernel"])
    # At the first step the bias corrections leave the gradient and its square.
    expected = -0.1 * (gradient / (np.abs(gradient) + 1e-4) + 0.3 * kernel)
    np.testing.assert_allclose(moved["conv"]["kernel"], expected, rtol=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_biases_and_norms_do_not_decay(name):
    plain = updates({"name": name, "weight_decay": 0.0})
    decayed = updates({"name": name, "weight_decay": 0.5})
    np.testing.assert_array_equal(decayed["conv"]["bias"], plain["conv"]["bias"])
    np.testing.assert_array_equal(decayed["norm"]["scale"], plain["norm"]["scale"])
    assert np.abs(decayed["conv"]["kernel"] - plain["conv"]["kernel"]).min() > 1e-4


def test_sgd_with_momentum_over_two_steps():
    transform = make_optimizer(
        {"name": "sgd", "momentum": 0.7, "weight_decay": 0.2}, lambda step: 0.1, 0.0
    )
    state = transform.init(PARAMS)
    _, state = transform.update(GRADIENT, state, PARAMS)
    moved, _ = transform.update(GRADIENT, state, PARAMS)
    slope = np.asarray(GRADIENT["conv"]["kernel"]) + 0.2 * np.asarray(PARAMS["conv"]["kernel"])
    np.testing.assert_allclose(moved["conv"]["kernel"], -0.1 * 1.7 * slope, rtol=1e-6)


def test_clips_the_norm_of_the_whole_gradient():
    norm = math.sqrt(sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(GRADIENT)))
    plain = updates({"name": "sgd", "momentum": 0.0})
    clipped = updates({"name": "sgd", "momentum": 0.0}, clip_norm=norm / 4)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(clipped), strict=True):
        np.testing.assert_allclose(a, 4 * b, rtol=1e-6)


def test_cosine_rises_and_falls():
    schedule = make_schedule(
        {"name": "cosine", "warmup_steps": 10, "final_fraction": 0.2}, value=3.0, steps=110
    )
    assert float(schedule(5)) == pytest.approx(1.5)
    assert float(schedule(10)) == pytest.approx(3.0)
    quarter = 0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi / 4))
    assert float(schedule(35)) == pytest.approx(3.0 * quarter, rel=1e-5)
    assert float(schedule(110)) == pytest.approx(0.6)


def test_cosine_restarts_at_its_value_in_parts_of_equal_length():
    schedule = make_schedule(
        {"name": "cosine", "warmup_steps": 10, "final_fraction": 0.2, "cycles": 3}, 3.0, 100
    )
    fall = [3.0 * (0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * k / 30))) for k in range(30)]
    found = [float(schedule(step)) for step in range(10, 100)]
    assert found == pytest.approx(fall * 3, rel=1e-5)
    assert float(schedule(5)) == pytest.approx(1.5)


def test_a_cosine_of_no_cycle_is_refused():
    with pytest.raises(UserError, match=r"^schedule.cycles: must be at least 1 \(got 0\)"):
        make_schedule({"name": "cosine", "cycles": 0}, 1.0, 10)


def test_lion_moves_by_the_sign_and_decays():
    moved = updates({"name": "lion", "weight_decay": 0.3})
    gradient, kernel = np.asarray(GRADIENT["conv"]["kernel"]), np.asarray(PARAMS["conv"]["kernel"])
    expected = -0.1 * (np.sign(gradient) + 0.3 * kernel)
    np.testing.assert_allclose(moved["conv"]["kernel"], expected, rtol=1e-5)


def test_staircase_drops_at_shares_of_the_run():
    schedule = make_schedule(
        {"name": "staircase", "boundaries": (0.25, 0.5), "factor": 0.5, "warmup_steps": 4},
        value=8.0,
        steps=40,
    )
    assert [float(schedule(step)) for step in (0, 2, 9, 11, 19, 21, 39)] == [0, 4, 8, 4, 4, 2, 2]


def test_constant_after_its_rise():
    schedule = make_schedule({"name": "constant", "warmup_steps": 4}, value=2.0, steps=9)
    assert [float(schedule(step)) for step in (0, 1, 4, 99)] == [0.0, 0.5, 2.0, 2.0]


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_begins_at_its_value_where_nothing_else_is_said(name):
    schedule = make_schedule({"name": name}, value=0.375, steps=20)
    assert float(schedule(0)) == 0.375
    assert 0 < float(schedule(jnp.asarray(7, jnp.int32))) <= 0.375


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_goes_on_rising_where_its_rise_is_longer_than_the_run(name):
    schedule = make_schedule({"name": name, "warmup_steps": 8}, value=2.0, steps=4)
    assert [float(schedule(step)) for step in (0, 1)] == [0.0, 0.25]


def test_a_part_has_the_learning_rate_of_its_factor_and_others_the_whole():
    params = {
        "model": {"backbone": PARAMS, "embedding": {"kernel": jnp.array([[0.5, -3.0]])}},
        "class_weights": {"normalized_softmax": jnp.array([[2.0], [-1.0]])},
    }
    gradient = jax.tree.map(lambda leaf: 0.3 * leaf + 0.1, params)
    rates = {"backbone": 0.25, "class_weights": 4.0}
    moved, plain = (
        transform.update(gradient, transform.init(params), params)[0]
        for transform in (
            make_optimizer({"name": "adamw", "weight_decay": 0.2}, lambda _: 0.1, 0.0, factors)
            for factors in (rates, {})
        )
    )
    for part, factor in (("backbone", 0.25), ("embedding", 1.0)):
        for a, b in zip(
            jax.tree.leaves(moved["model"][part]),
            jax.tree.leaves(plain["model"][part]),
            strict=True,
        ):
            np.testing.assert_allclose(a, factor * b, rtol=1e-6)
    (a,), (b,) = (jax.tree.leaves(each["class_weights"]) for each in (moved, plain))
    np.testing.assert_allclose(a, 4 * b, rtol=1e-6)


def test_kernels_and_class_weights_decay_and_nothing_else():
    params = {
        "model": {
            "backbone": {
                "cls_token": jnp.ones((1, 1, 4)),
                "pos_embed": jnp.ones((1, 9, 4)),
                "block": {"layer_scale": jnp.ones((4, 1, 1)), "conv": {"kernel": jnp.ones((4,))}},
            },
            "gem": {"power": jnp.ones(())},
            "embedding": {"kernel": jnp.ones((4, 2)), "bias": jnp.ones((2,))},
        },
        "class_weights": {"arcface": jnp.ones((2, 5))},
    }
    paths = jax.tree_util.tree_leaves_with_path(decays(params))
    found = {jax.tree_util.keystr(path, simple=True, separator="/") for path, mask in paths if mask}
    assert found == {
        "model/backbone/block/conv/kernel", "model/embedding/kernel", "class_weights/arcface"
    }  # fmt: skip


def test_a_block_has_the_learning_rate_decayed_by_its_depth_and_its_part_factor():
    blocks = {"conv1": PARAMS["conv"], "layer1_0": PARAMS, "layer2_0": PARAMS["norm"]}
    head = {"kernel": jnp.array([[0.5, -3.0]])}
    params = {"model": {"backbone": blocks, "embedding": head}, "class_weights": {}}
    gradient = jax.tree.map(lambda leaf: 0.3 * leaf + 0.1, params)
    depths = {"conv1": 3, "layer1_0": 2, "layer2_0": 1}
    optimizer = {"name": "adamw", "weight_decay": 0.2}
    plain = make_optimizer(optimizer, lambda _: 0.1, 0.0)
    decayed = make_optimizer(
        optimizer, lambda _: 0.1, 0.0, {"backbone": 0.5}, 0.8, lambda names: depths
    )
    whole, moved = (
        each.update(gradient, each.init(params), params)[0]["model"] for each in (plain, decayed)
    )
    for name, factor in {"conv1": 0.256, "layer1_0": 0.32, "layer2_0": 0.4}.items():
        for a, b in zip(
            jax.tree.leaves(moved["backbone"][name]),
            jax.tree.leaves(whole["backbone"][name]),
            strict=True,
        ):
            np.testing.assert_allclose(a, factor * b, rtol=1e-6)
    np.testing.assert_array_equal(moved["embedding"]["kernel"], whole["embedding"]["kernel"])
