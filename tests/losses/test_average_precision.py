"""Smooth AP and FastAP against loops, golden values and by hand."""

import jax.numpy as jnp
import numpy as np

from darkrank_jax import losses
from darkrank_jax.losses import average_precision
from tests.losses.batches import LABELS, X
from tests.losses.golden import check_golden, golden_cases
from tests.losses.oracles import check_oracle
from tests.references import losses as reference


def test_smooth_ap_leaves_the_anchor_out_of_its_own_list():
    # The positive ranks second of two: 1 - 1/2. With the anchor first in its list, 1/6.
    x = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]])
    value = losses.smooth_ap_loss(x, jnp.array([0, 0, 1]), num_anchors=1)
    np.testing.assert_allclose(value, 0.5, atol=1e-6)


def test_smooth_ap_is_that_of_the_loops():
    check_oracle(
        lambda x, labels: losses.smooth_ap_loss(x, labels, temperature=0.05),
        lambda x, labels: reference.smooth_ap(x, labels, 0.05),
        X,
        LABELS,
    )


@golden_cases(average_precision)
def test_golden_values_and_gradients(family, case, dtype):
    check_golden(family, case, dtype)
