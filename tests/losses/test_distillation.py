"""Distillation of embeddings, maps and logits against loops and golden values."""

import numpy as np

from darkrank_jax import losses
from darkrank_jax.losses import distillation
from tests.losses.batches import TEACHER, X
from tests.losses.golden import check_golden, golden_cases
from tests.losses.oracles import check_oracle


def test_embedding_match_is_the_mean_of_squared_distances():
    check_oracle(
        losses.embedding_match_loss,
        lambda x, t: np.mean([((a - b) ** 2).sum() for a, b in zip(x, t, strict=True)]),
        X,
        TEACHER,
    )


def test_fitnet_is_the_mean_square_of_all_differences():
    check_oracle(
        lambda x, t: losses.fitnet_loss(x.reshape(10, 2, 2), t.reshape(10, 2, 2)),
        lambda x, t: np.mean((x - t) ** 2),
        X,
        TEACHER,
    )


@golden_cases(distillation)
def test_golden_values_and_gradients(family, case, dtype):
    check_golden(family, case, dtype)
