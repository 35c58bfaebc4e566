"""Triplets found by sorting, and the boundaries of the margin loss, against loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax import losses
from darkrank_jax.losses import masks, pairwise, triplets
from tests.losses.batches import LABELS, X
from tests.losses.golden import check_golden, golden_cases
from tests.losses.oracles import check_oracle
from tests.marks import slow_but
from tests.references import losses as reference


@pytest.mark.parametrize(
    "reduce_fn", slow_but({losses.mean_nonzero}, [losses.mean, losses.mean_nonzero, losses.total])
)
@pytest.mark.parametrize("num_anchors", [None, 6])
def test_all_triplets_by_sorting_are_all_triplets(x64, reduce_fn, num_anchors):
    labels, where = jnp.asarray(LABELS), jnp.arange(10) != 4
    # Equal distances, and some that a margin meets.
    x = jnp.asarray(X).at[7].set(X[2])

    def one_by_one(x):
        pairs = masks.label_masks(labels, where, num_anchors)
        lengths = pairwise.distances(x[:num_anchors], x)
        gaps = lengths[:, :, None] - lengths[:, None, :]
        return reduce_fn(jax.nn.relu(gaps + 0.6), where=masks.triplet_mask(*pairs))

    def sorted_(x):
        return losses.triplet_loss(
            x, labels, margin=0.6, normalize_embeddings=False, num_anchors=num_anchors,
            where=where, reduce_fn=reduce_fn,
        )  # fmt: skip

    expected, slopes = jax.jit(jax.value_and_grad(one_by_one))(x)
    found, found_slopes = jax.jit(jax.value_and_grad(sorted_))(x)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(found_slopes, slopes, rtol=1e-9, atol=1e-12 * np.abs(slopes).max())


def test_hinges_far_from_zero_keep_their_differences():
    # Squared distances near 1e6 that differ by a few units: a margin of 1 decides.
    x = jnp.array([[0.0], [1000.0], [1000.5], [1001.0], [999.75]])
    labels = jnp.array([0, 0, 1, 1, 1])
    value = losses.lmnn_loss(x, labels, push_weight=1.0, num_anchors=1)
    gaps = 1e6 - np.array([1000.5, 1001.0, 999.75]) ** 2 + 1
    np.testing.assert_allclose(value, np.maximum(gaps, 0).mean(), rtol=1e-3)


@pytest.mark.parametrize("num_anchors", [None, 7])
def test_margin_loss_takes_a_boundary_for_each_anchor(num_anchors):
    x, labels = jnp.asarray(X, jnp.float32), jnp.asarray(LABELS)
    betas = jnp.linspace(0.4, 1.6, 4)[labels]

    @jax.jit
    def total(anchor, beta):
        mask = jnp.ones(10, bool)
        rows = jnp.roll(x, -anchor, axis=0), jnp.roll(labels, -anchor)
        return losses.margin_loss(
            *rows, beta=beta, num_anchors=1, reduce_fn=losses.total, where=mask
        )

    expected = sum(total(i, float(betas[i])) for i in range(num_anchors or 10))
    loss = functools.partial(losses.margin_loss, num_anchors=num_anchors, reduce_fn=losses.total)
    found = jax.jit(loss)(x, labels, beta=betas)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_lmnn_is_that_of_the_loops():
    check_oracle(
        lambda x, labels: losses.lmnn_loss(x, labels, margin=1.5, push_weight=0.3),
        lambda x, labels: reference.lmnn(x, labels, 1.5, 0.3),
        X,
        LABELS,
    )


def test_semi_hard_triplets_are_those_of_the_loops():
    check_oracle(
        lambda x, labels: losses.triplet_loss(x, labels, margin=0.4, mining="semi_hard"),
        lambda x, labels: reference.semi_hard_triplet(x, labels, 0.4),
        X,
        LABELS,
    )


@golden_cases(triplets)
def test_golden_values_and_gradients(family, case, dtype):
    check_golden(family, case, dtype)
