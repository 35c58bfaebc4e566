"""Relations between rows against loops and golden values."""

import jax.numpy as jnp
import numpy as np

from darkrank_jax import losses
from darkrank_jax.losses import relational
from tests.losses.batches import TEACHER, X
from tests.losses.golden import check_golden, golden_cases
from tests.losses.oracles import check_oracle
from tests.references import losses as reference


def test_pkt_adds_one_ten_millionth_in_the_logarithm(x64):
    # Cosines 0 and -1 to the other rows: probabilities 1/3 and 0.
    student, teacher = (jnp.asarray(x) for x in ([[1.0], [-1.0]], [[1.0, 0.0], [0.0, 1.0]]))
    value = losses.pkt_loss(student, teacher)
    own, other = (t * np.log((t + 1e-7) / (s + 1e-7)) for t, s in ((2 / 3, 1.0), (1 / 3, 0.0)))
    np.testing.assert_allclose(value, (own + other) / 2, rtol=1e-9)


def test_similarity_match_is_that_of_the_loops():
    check_oracle(losses.similarity_match_loss, reference.similarity_match, X, TEACHER)


def test_gaussian_correlation_congruence_is_that_of_the_loops():
    check_oracle(
        lambda x, t: losses.correlation_congruence_loss(x, t, kernel="gaussian", gamma=0.7),
        lambda x, t: reference.gaussian_congruence(x, t, 0.7),
        X,
        TEACHER,
    )


@golden_cases(relational)
def test_golden_values_and_gradients(family, case, dtype):
    check_golden(family, case, dtype)
