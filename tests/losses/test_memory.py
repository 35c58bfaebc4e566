"""Cross-batch memory beside a batch that holds the remembered rows."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax import losses
from darkrank_jax.losses import memory
from tests.losses.batches import (
    LABELS,
    TEACHER,
    X,
)
from tests.marks import slow_but

QUICK = {"darkrank_hard", "darkrank_soft", "multi_similarity", "ntxent", "supcon", "triplet"}
WITH_MEMORY = {
    name
    for name, loss in losses.LOSSES.items()
    if "num_anchors" in inspect.signature(loss.function).parameters
}


@pytest.mark.parametrize("name", slow_but(QUICK, sorted(WITH_MEMORY)))
def test_the_memory_stands_in_for_a_larger_batch(x64, name):
    rows = {
        "embeddings": jnp.asarray(X),
        "labels": jnp.asarray(LABELS),
        "teacher_embeddings": jnp.asarray(TEACHER),
    }
    old, new = ({key: a[part] for key, a in rows.items()} for part in (slice(4, 10), slice(4)))
    state = memory.push(memory.create(new, size=8), old)
    joined, where = memory.join(state, new)
    function, inputs = losses.LOSSES[name]
    loss = jax.jit(partial(function, num_anchors=4))
    found = loss(*[joined[key] for key in inputs], where=where)
    np.testing.assert_allclose(found, loss(*[rows[key] for key in inputs]), rtol=1e-9)
    assert found > 0


def test_every_loss_on_labels_and_the_ranking_take_a_memory():
    labelled = {n for n, loss in losses.LOSSES.items() if loss.inputs == ("embeddings", "labels")}
    assert labelled | {"darkrank_hard", "darkrank_soft"} == WITH_MEMORY


def test_the_memory_passes_no_gradient_and_forgets_the_oldest():
    def stored(x):
        state = memory.create({"embeddings": x}, size=3)
        for batch in (x, 2 * x):
            state = memory.push(state, {"embeddings": batch}, where=jnp.array([True, False]))
        return state

    x = jnp.array([[1.0], [2.0]])
    state = stored(x)
    np.testing.assert_array_equal(state.rows["embeddings"], [[4.0], [2.0], [2.0]])
    np.testing.assert_array_equal(state.valid, [False, False, True])
    assert not jax.grad(lambda x: stored(x).rows["embeddings"].sum())(x).any()
    with pytest.raises(ValueError, match="expected at most the memory's size 3"):
        memory.push(state, {"embeddings": jnp.ones([4, 1])})
    with pytest.raises(ValueError, match=r"rows: got \['labels'\], expected \['embeddings'\]"):
        memory.push(state, {"labels": jnp.ones([2, 1])})


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
