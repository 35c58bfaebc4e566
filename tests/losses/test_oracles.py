"""Losses without golden values against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax import losses
from tests.losses.batches import LABELS, TEACHER, WEIGHTS, X
from tests.references import losses as reference

CASES = {
    "lmnn": (
        lambda x: losses.lmnn_loss(x, LABELS, margin=1.5, push_weight=0.3),
        lambda: reference.lmnn(X, LABELS, 1.5, 0.3),
    ),
    "n_pairs": (
        lambda x: losses.n_pairs_loss(x, LABELS, l2_weight=0.2),
        lambda: reference.n_pairs(X, LABELS, 0.2),
    ),
    "smooth_ap": (
        lambda x: losses.smooth_ap_loss(x, LABELS, temperature=0.05),
        lambda: reference.smooth_ap(X, LABELS, 0.05),
    ),
    "semi_hard": (
        lambda x: losses.triplet_loss(x, LABELS, margin=0.4, mining="semi_hard"),
        lambda: reference.semi_hard_triplet(X, LABELS, 0.4),
    ),
    "mined": (
        lambda x: losses.multi_similarity_loss(
            x, LABELS, alpha=3.0, beta=9.0, base=0.4, epsilon=0.05
        ),
        lambda: reference.mined_multi_similarity(X, LABELS, 3.0, 9.0, 0.4, 0.05),
    ),
    "softmax": (
        lambda x: losses.softmax_loss(x, LABELS, WEIGHTS),
        lambda: reference.softmax(X, LABELS, WEIGHTS),
    ),
    "similarity_match": (
        lambda x: losses.similarity_match_loss(x, TEACHER),
        lambda: reference.similarity_match(X, TEACHER),
    ),
    "gaussian": (
        lambda x: losses.correlation_congruence_loss(x, TEACHER, kernel="gaussian", gamma=0.7),
        lambda: reference.gaussian_congruence(X, TEACHER, 0.7),
    ),
    "embedding_match": (
        lambda x: losses.embedding_match_loss(x, TEACHER),
        lambda: np.mean([((s - t) ** 2).sum() for s, t in zip(X, TEACHER, strict=True)]),
    ),
    "fitnet": (
        lambda x: losses.fitnet_loss(x.reshape(10, 2, 2), TEACHER.reshape(10, 2, 2)),
        lambda: np.mean((X - TEACHER) ** 2),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_value_is_that_of_the_loops(x64, monkeypatch, case):
    for name in ("LABELS", "TEACHER", "WEIGHTS"):
        monkeypatch.setitem(globals(), name, jnp.asarray(globals()[name]))
    loss, expected = CASES[case]
    value = jax.jit(loss)(jnp.asarray(X))
    monkeypatch.undo()
    np.testing.assert_allclose(value, expected(), rtol=1e-9)
