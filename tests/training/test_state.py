"""The state of training before its first step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from darkrank_jax.models import build_model
from darkrank_jax.training.state import create_state


def drawn(seed=0, *, averaged=False, names=("softmax", "arcface")):
    return create_state(
        build_model("resnet10", width=4, embedding_dim=6),
        optax.adam(1e-3),
        image_shape=(8, 8, 2),
        class_weights=dict.fromkeys(names, 1),
        num_classes=5,
        averaged=averaged,
        key=jax.random.key(seed),
    )


@pytest.mark.parametrize("averaged", [pytest.param(False, marks=pytest.mark.slow), True])
def test_what_is_evaluated_is_the_average_where_one_is_kept(averaged):
    state = drawn(averaged=averaged)
    moved = state.replace(params=jax.tree.map(lambda leaf: leaf + 1, state.params))
    expected = state.params if averaged else moved.params
    evaluated = moved.evaluated
    for found, leaf in zip(*map(jax.tree.leaves, (evaluated["params"], expected)), strict=True):
        np.testing.assert_array_equal(found, leaf)
    assert evaluated["batch_stats"] is moved.batch_stats
    assert state.step == 0


def test_each_loss_has_class_weights_of_its_own_and_the_key_decides():
    first, same, other = drawn(), drawn(), drawn(1)
    weights = first.params["class_weights"]
    assert {name: each.shape for name, each in weights.items()} == {
        "softmax": (6, 5),
        "arcface": (6, 5),
    }
    assert not jnp.allclose(weights["softmax"], weights["arcface"])
    for found, leaf in zip(*map(jax.tree.leaves, (first, same)), strict=True):
        np.testing.assert_array_equal(found, leaf)
    kernels = [s.params["model"]["embedding"]["kernel"] for s in (first, other)]
    assert not np.allclose(*kernels)
    # A class weight does not depend on what other losses there are.
    alone = drawn(names=("softmax",)).params["class_weights"]["softmax"]
    np.testing.assert_array_equal(alone, weights["softmax"])
