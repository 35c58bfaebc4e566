"""Losses of classes against loops, golden values and angles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from darkrank_jax import losses
from darkrank_jax.losses import classification
from tests.losses.batches import LABELS, WEIGHTS, X
from tests.losses.golden import check_golden, golden_cases
from tests.losses.oracles import check_oracle
from tests.references import losses as reference


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


def test_softmax_is_that_of_the_loops():
    check_oracle(losses.softmax_loss, reference.softmax, X, LABELS, WEIGHTS)


@golden_cases(classification)
def test_golden_values_and_gradients(family, case, dtype):
    check_golden(family, case, dtype)
