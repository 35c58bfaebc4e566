"""Distances whose values and derivatives keep their digits, against differences in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax.losses import pairwise
from tests.losses.batches import relative, unit
from tests.marks import slow_but


# More rows than a tile has, and not a multiple of it.
@pytest.mark.parametrize("form", ["self", "anchors", "other"])
@pytest.mark.parametrize("gap", slow_but({1e-6}, [1e-6, 1e-3, 1.0]))
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
