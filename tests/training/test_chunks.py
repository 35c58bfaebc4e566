"""A batch in chunks learns what the whole batch does, in less memory."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from darkrank_jax.config.reader import read_run
from darkrank_jax.distributed.mesh import by_rows, make_mesh, put, replicated
from darkrank_jax.losses import combine
from darkrank_jax.models import build_model
from darkrank_jax.training.chunks import by_chunks
from darkrank_jax.training.state import create_state
from darkrank_jax.training.step import Objective, Update, make_forward, make_train_step
from tests import devices_config

# One worker takes them all, so that each step is compiled once.
pytestmark = pytest.mark.xdist_group("chunks")
BATCH, KEY = 64, jax.random.key(4)
LOSSES = {
    "normalized_softmax": {"weight": 1.0, "temperature": 0.1},
    "darkrank_soft": {"weight": 0.5, "list_size": 3},
    "kd": {"weight": 0.2, "temperature": 2.0},
}
WANTED = {"embeddings", "labels", "teacher_embeddings", "logits", "teacher_logits"}


def run_of(**model):
    """A run whose network has no batch norm, unless it is asked for."""
    config = devices_config.get_config().unlock()
    config.model.update({"head_batch_norm": False} | model)
    return read_run(config.to_dict())


@functools.cache
def draw():
    """The first state, whose parameters do not depend on what is computed of them."""
    make = functools.partial(
        create_state,
        build_model(**run_of().model),
        optax.sgd(1.0),
        image_shape=(16, 16, 1),
        class_weights={"normalized_softmax": 1},
        num_classes=8,
        averaged=False,
        key=KEY,
    )
    return jax.jit(make)()


def one_step(run, losses=LOSSES, mesh=None, batch=BATCH, chunks=1, remat=False):
    """The compiled step and its arguments, of a gradient that the new parameters show."""
    state = draw()
    objective = Objective(
        combine(losses),
        WANTED,
        logits_fn=lambda outputs, weights: outputs["embeddings"] @ weights["normalized_softmax"],
        teach=lambda variables, images: taught(images),
    )
    step = make_train_step(
        make_forward(build_model(**run.model), 0.5, 0.5, remat=remat),
        objective,
        Update(optax.sgd(1.0)),
        chunks=chunks,
        rows_together=2,
    )
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (batch, 16, 16, 1), np.uint8)
    rows = {"images": images, "labels": np.arange(batch, dtype=np.int32) // 2 % 8, "teacher": {}}
    if mesh is not None:
        state, rows = put(state, replicated(mesh)), put(rows, by_rows(mesh))
    return jax.jit(step).lower(state, rows, {}, KEY).compile(), (state, rows, {}, KEY)


def taught(images):
    """What a teacher says, which follows from the images."""
    numbers = images.reshape(len(images), -1).astype(jnp.float32) / 255
    return {"teacher_embeddings": numbers[:, :5], "teacher_logits": numbers[:, 5:13]}


def stepped(step, given):
    """Loss and new parameters."""
    state, metrics = step(*given)
    return metrics, jax.tree.leaves(state.params)


@functools.cache
def plain():
    return one_step(run_of())


@functools.cache
def in_eight():
    return one_step(run_of(), chunks=8)


@functools.cache
def in_two_on_four_devices():
    return one_step(run_of(), chunks=2, remat=True, mesh=make_mesh(BATCH))


def assert_same(found, expected):
    assert found[0].keys() == expected[0].keys()
    for name in found[0]:
        np.testing.assert_allclose(found[0][name], expected[0][name], rtol=1e-5, err_msg=name)
    for a, b in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_chunks_give_the_step_of_the_whole_batch():
    """Also with rematerialisation, and with each chunk spread over four devices."""
    expected = stepped(*plain())
    assert_same(stepped(*in_eight()), expected)
    assert_same(stepped(*in_two_on_four_devices()), expected)


def test_chunks_take_the_memory_of_one():
    """Both programs hold the state and the batch; activations are what grows with the images."""
    whole, parts = (step.memory_analysis() for step, _ in (plain(), in_eight()))
    assert parts.argument_size_in_bytes == whole.argument_size_in_bytes
    assert parts.temp_size_in_bytes < 0.4 * whole.temp_size_in_bytes


def test_chunks_move_no_image_between_devices():
    program = in_two_on_four_devices()[0].as_text()
    # A chunk of 32 is eight images on each device, which are eight of its own 16.
    assert "u8[8,16,16,1]" in program
    assert "u8[32,16,16,1]" not in program
    moved = [line for line in program.splitlines() if re.search("all-(gather|to-all)", line)]
    assert moved
    assert not [line for line in moved if "16,16,1]" in line]


def test_batch_norm_averages_the_statistics_of_chunks():
    rows = jnp.asarray(np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32))
    norm = linen.BatchNorm(False, momentum=0.9)
    variables = norm.init(KEY, rows)

    def of_chunk(chunk):
        found, updates = norm.apply(variables, chunk, mutable=["batch_stats"])
        return found, updates["batch_stats"]

    found, stats = by_chunks(of_chunk, rows, chunks=2, together=3)
    chunks = rows.reshape(2, 2, 3, 3).swapaxes(0, 1).reshape(2, 6, 3)
    normal = (chunks - chunks.mean(1, keepdims=True)) / chunks.std(1, keepdims=True)
    expected = normal.reshape(2, 2, 3, 3).swapaxes(0, 1).reshape(12, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(stats["mean"], 0.1 * rows.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * chunks.var(1).mean(0), rtol=1e-5)


def test_rematerialisation_keeps_blocks_alone():
    """What lies between the passes: all activations, or what the two blocks give."""
    model = build_model(**run_of(depth=2).model)
    images = jnp.zeros((BATCH, 16, 16, 1), jnp.uint8)
    params = jax.eval_shape(lambda: model.init(KEY, jnp.zeros((1, 16, 16, 1)), False))["params"]

    def kept(remat):
        forward = make_forward(model, 0.5, 0.5, remat=remat)

        def backward(params):
            return jax.vjp(lambda p: forward({"model": p}, {}, images, KEY)[0], params)[1]

        leaves = jax.tree.leaves(jax.eval_shape(backward, params))
        return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)

    assert kept(True) < 0.5 * kept(False)
