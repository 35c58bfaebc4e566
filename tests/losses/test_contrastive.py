"""Losses of pairs against loops and golden values."""

import jax
import jax.numpy as jnp
import numpy as np

from darkrank_jax import losses
from darkrank_jax.losses import contrastive
from tests.losses.batches import LABELS, X
from tests.losses.golden import check_golden, golden_cases
from tests.losses.oracles import check_oracle
from tests.references import losses as reference


def test_supcon_on_a_batch_of_one_class_spreads_the_rows():
    x = jnp.asarray(np.random.default_rng(1).normal(size=(5, 3)), jnp.float32)
    labels = jnp.zeros(5, int)
    loss = jax.jit(jax.value_and_grad(losses.supcon_loss))
    alike, _ = loss(jnp.ones([5, 3]), labels)
    np.testing.assert_allclose(alike, np.log(4), rtol=1e-6)
    assert loss(x, labels)[1].any()


def test_n_pairs_is_that_of_the_loops():
    check_oracle(
        lambda x, labels: losses.n_pairs_loss(x, labels, l2_weight=0.2),
        lambda x, labels: reference.n_pairs(x, labels, 0.2),
        X,
        LABELS,
    )


def test_mined_multi_similarity_is_that_of_the_loops():
    options = {"alpha": 3.0, "beta": 9.0, "base": 0.4, "epsilon": 0.05}
    check_oracle(
        lambda x, labels: losses.multi_similarity_loss(x, labels, **options),
        lambda x, labels: reference.mined_multi_similarity(x, labels, **options),
        X,
        LABELS,
    )


@golden_cases(contrastive)
def test_golden_values_and_gradients(family, case, dtype):
    check_golden(family, case, dtype)
