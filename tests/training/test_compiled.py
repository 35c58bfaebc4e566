"""The compiled step changes what a run's learning rates let it change, and nothing else."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax.config.reader import read_run
from darkrank_jax.training.compiled import compile_stages, compile_step, logits_of
from darkrank_jax.training.network import build
from darkrank_jax.training.step import make_forward
from tests import tiny_config


def drawn_batch():
    rng = np.random.default_rng(4)
    return {
        "images": rng.integers(0, 256, (8, 16, 16, 1), np.uint8),
        "labels": np.repeat(np.arange(4, dtype=np.int32), 2),
        "teacher": {},
    }


def after_a_step(rates):
    """The state before and after a step of a run with batch norm, decay and a moving average."""
    run = read_run(
        tiny_config.small().to_dict() | {"losses": {"normalized_softmax": {"weight": 1.0}}}
    )
    run = dataclasses.replace(run, learning_rates=rates, schedule={"name": "constant"})
    model, optimizer, initial_state = build(run, channels=1, num_classes=5)
    before, batch = jax.jit(initial_state)(), drawn_batch()
    kept = jax.device_get(before)
    after, metrics = compile_step(run, model, optimizer, None)(before, batch, {}, jax.random.key(0))
    return kept, jax.device_get(after), metrics


def moved(before, after):
    return [
        bool(np.any(a != b)) for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True)
    ]


@pytest.mark.parametrize(
    "frozen",
    [
        "backbone",
        *(pytest.param(part, marks=pytest.mark.slow) for part in ("head", "class_weights")),
    ],
)
def test_a_part_with_a_learning_rate_of_zero_stays_as_it_is(frozen):
    before, after, metrics = after_a_step({frozen: 0.0})
    parts = {
        "backbone": lambda state: state.params["model"]["backbone"],
        "head": lambda state: state.params["model"]["embedding"],
        "class_weights": lambda state: state.params["class_weights"],
    }
    for name, part in parts.items():
        changed = moved(part(before), part(after))
        assert not any(changed) if name == frozen else any(changed)
    # A frozen backbone embeds with the statistics that it came with.
    statistics = moved(before.batch_stats, after.batch_stats)
    assert not any(statistics) if frozen == "backbone" else all(statistics)
    assert np.isfinite(float(metrics["loss"]))


@pytest.mark.slow
def test_the_backbone_is_frozen_in_the_first_steps_alone_and_one_state_serves_both():
    run = read_run(
        tiny_config.small().to_dict()
        | {"losses": {"normalized_softmax": {"weight": 1.0}}, "freeze_steps": 2}
    )
    run = dataclasses.replace(run, schedule={"name": "constant"})
    _, _, initial_state = build(run, channels=1, num_classes=5)
    state = jax.jit(initial_state)()
    step_of = compile_stages(run, 1, 5, None)
    rng = np.random.default_rng(4)
    backbones, heads, statistics = [], [], []
    for step in range(4):
        batch = {
            "images": rng.integers(0, 256, (8, 16, 16, 1), np.uint8),
            "labels": np.repeat(np.arange(4, dtype=np.int32), 2),
            "teacher": {},
        }
        before = jax.device_get(state)
        state, _ = step_of(step)(state, batch, {}, jax.random.key(0))
        after = jax.device_get(state)
        backbones.append(any(moved(*(s.params["model"]["backbone"] for s in (before, after)))))
        heads.append(all(moved(*(s.params["model"]["embedding"] for s in (before, after)))))
        statistics.append(any(moved(before.batch_stats, after.batch_stats)))
    assert backbones == statistics == [False, False, True, True]
    assert heads == [True] * 4


def test_layer_decay_slows_each_block_by_its_depth_and_leaves_the_head():
    changes = {
        "losses": {"triplet": {"weight": 1.0}},
        "layer_decay": 0.5,
        "optimizer": {"name": "sgd", "momentum": 0.0},
        "schedule": {"name": "constant"},
        "learning_rate": 0.25,
    }
    run = read_run(tiny_config.small().to_dict() | changes)
    _, optimizer, initial_state = build(run, channels=1, num_classes=5)
    shapes = jax.eval_shape(initial_state).params
    params = jax.tree.map(lambda shape: np.ones(shape.shape, np.float32), shapes)
    state = jax.eval_shape(optimizer.init, shapes)
    counts = jax.tree.map(lambda shape: np.zeros(shape.shape, shape.dtype), state)
    updates, _ = jax.jit(optimizer.update)(params, counts, params)
    found = {**updates["model"]["backbone"], "embedding": updates["model"]["embedding"]}
    # A stem and four stages of one block.
    depths = {"conv1": 5, "bn1": 5, "embedding": 0} | {f"layer{n}_0": 5 - n for n in range(1, 5)}
    assert depths.keys() == found.keys()
    for name, depth in depths.items():
        for leaf in jax.tree.leaves(found[name]):
            np.testing.assert_allclose(leaf, np.full(leaf.shape, -0.25 * 0.5**depth), rtol=1e-6)


def triplets(x, labels, margin):
    """By loops, in float64: the mean over triplets of those above 0."""
    apart = np.linalg.norm(x[:, None] - x[None], axis=-1)
    terms = [
        apart[a, p] - apart[a, n] + margin
        for a in range(len(x))
        for p in range(len(x))
        for n in range(len(x))
        if p != a and labels[p] == labels[a] != labels[n]
    ]
    return np.mean([term for term in terms if term > 0])


def test_losses_of_a_step_are_of_their_side_of_the_norm():
    """By hand from the pooled features: before the norm triplets, behind it classes."""
    config = tiny_config.small()
    config.model.head_batch_norm = True
    far = {"margin": 0.7, "normalize_embeddings": False}
    config.losses = {
        "triplet": {"weight": 1.0, "embeddings": "before_norm", **far},
        "softmax": {"weight": 0.5, "embeddings": "after_norm"},
    }
    run, batch = read_run(config.to_dict()), drawn_batch()
    model, optimizer, initial_state = build(run, channels=1, num_classes=5)
    state = jax.jit(initial_state)()
    params = jax.device_get(state.params)
    key = jax.random.key(0)
    forward = jax.jit(make_forward(model, run.data.mean, run.data.std))
    outputs, _ = forward(state.params, state.batch_stats, batch["images"], key)
    _, metrics = compile_step(run, model, optimizer, None)(state, batch, {}, key)
    layer, labels = params["model"]["embedding"], batch["labels"]
    before = np.asarray(outputs["features"], np.float64) @ layer["kernel"] + layer["bias"]
    after = (before - before.mean(axis=0)) / np.sqrt(before.var(axis=0) + 1e-5)
    logits = after @ params["class_weights"]["softmax"]
    likelihood = logits[np.arange(8), labels] - np.log(np.exp(logits).sum(axis=1))
    expected = {"triplet": triplets(before, labels, 0.7), "softmax": -likelihood.mean()}
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[f"losses/{name}"], value, rtol=1e-3)


def test_class_logits_are_of_the_side_that_the_classification_loss_sees():
    rng = np.random.default_rng(8)
    x, unit = jnp.asarray(rng.normal(size=(2, 3, 4)), jnp.float32)
    weights = jnp.asarray(rng.normal(size=(4, 5)), jnp.float32)
    logits = logits_of({"triplet": {}, "softmax": {"weight": 1.0, "embeddings": "after_norm"}})
    found = logits({"after_norm": x, "embeddings": unit}, {"softmax": weights})
    np.testing.assert_allclose(found, x @ weights, rtol=1e-5, atol=1e-5)
