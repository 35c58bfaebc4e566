"""Steps of training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from darkrank_jax.config.reader import read_run
from darkrank_jax.data import batches
from darkrank_jax.distributed.mesh import by_rows, make_mesh, put, replicated
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training.compiled import compile_step
from darkrank_jax.training.network import build
from darkrank_jax.training.state import TrainState
from darkrank_jax.training.step import Objective, Update, make_train_step, mix
from tests import devices_config


def test_devices_do_not_change_the_losses():
    run = read_run(devices_config.get_config().to_dict())
    split = Splits()[run.data]["train"]
    vectors = np.random.default_rng(2).normal(size=(48, 5)).astype(np.float32)
    sizes = {"channels": split.images.shape[-1], "num_classes": len(split.class_names)}
    model, optimizer, initial_state = build(run, **sizes)
    step = compile_step(run, model, optimizer, None)
    first = jax.device_get(jax.jit(initial_state)())
    stream = batches(
        split, seed=3, first_step=0, num_steps=20, batch_size=16, images_per_class=2,
        augmentation={}, num_threads=1,
    )  # fmt: skip
    given = [
        batch | {"teacher": {"teacher_embeddings": vectors[batch["rows"]]}} for batch in stream
    ]

    def losses_on(devices):
        """The loss of each step on the first devices."""
        mesh = make_mesh(16, jax.devices()[:devices])
        state, key = put((first, jax.random.key(run.seed)), replicated(mesh))
        found = []
        for batch in given:
            state, metrics = step(state, put(batch, by_rows(mesh)), {}, key)
            found.append(float(metrics["loss"]))
        return found

    one = losses_on(1)
    assert len(set(one)) == 20
    np.testing.assert_allclose(losses_on(4), one, rtol=1e-4)


def test_images_are_mixed_with_those_from_the_end_by_one_share_each():
    images = np.random.default_rng(5).integers(0, 256, (6, 4, 3, 2), np.uint8)
    mixed = np.asarray(mix(jnp.asarray(images), 0.4, jax.random.key(1)))
    assert mixed.dtype == np.float32
    levels = images.astype(np.float64)
    # By least squares, image by image: the middle of an even batch has another partner.
    gaps = levels - levels[::-1]
    shares = ((mixed - levels[::-1]) * gaps).sum((1, 2, 3)) / (gaps**2).sum((1, 2, 3))
    assert len(np.unique(shares.round(6))) == 6
    assert ((shares >= 0) & (shares <= 1)).all()
    weights = shares[:, None, None, None]
    np.testing.assert_allclose(mixed, weights * levels + (1 - weights) * levels[::-1], atol=1e-3)
    smaller = np.asarray(mix(jnp.asarray(images[:, ::2, :1]), 0.4, jax.random.key(1)))
    np.testing.assert_array_equal(smaller, mixed[:, ::2, :1])


@pytest.mark.parametrize("mixup", [0.0, 0.7])
def test_teacher_and_student_see_the_same_mixture_that_follows_from_the_step(mixup):
    """Networks that embed an image as its mean colour, so that the loss is how far these differ."""

    def forward(params, batch_stats, images, key):
        return {"embeddings": images.astype(jnp.float32).mean((1, 2)) * params["factor"]}, {}

    def teach(variables, images):
        return {"teacher_embeddings": images.astype(jnp.float32).mean((1, 2))}

    seen = []

    def loss_fn(arrays, **_):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), arrays["embeddings"])
        return jnp.abs(arrays["embeddings"] - arrays["teacher_embeddings"]).max(), {}

    objective = Objective(loss_fn, ("embeddings", "teacher_embeddings"), None, teach, None, mixup)
    step = make_train_step(forward, objective, Update(optax.sgd(0.0)))
    images = np.random.default_rng(6).integers(0, 256, (4, 4, 4, 3), np.uint8)
    # The teacher sees them larger.
    larger = images.repeat(2, 1).repeat(2, 2)
    batch = {"images": jnp.asarray(images), "teacher_images": jnp.asarray(larger)}
    batch |= {"labels": jnp.zeros(4, jnp.int32), "teacher": {}}
    params = {"factor": jnp.ones(()), "class_weights": {}}
    first = TrainState(jnp.int32(0), params, {}, optax.sgd(0.0).init(params), None)
    key = jax.random.key(3)
    state, metrics = step(first, batch, {}, key)
    assert float(metrics["loss"]) < 1e-3
    for again in (first, state):
        step(again, batch, {}, key)
    jax.effects_barrier()
    plain = images.astype(np.float32).mean((1, 2))
    assert (np.abs(seen[0] - plain).max() > 1) == bool(mixup)
    np.testing.assert_array_equal(seen[0], seen[1])
    assert (np.abs(seen[0] - seen[2]).max() > 1) == bool(mixup)
