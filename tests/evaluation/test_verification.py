import numpy as np
import pytest
from scipy import optimize
from sklearn import metrics as sklearn

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.verification import verification_metrics

RATES = (0.0, 0.05, 0.3)


@pytest.mark.parametrize("decimals", [1, 8])
def test_agrees_with_scikit_learn_and_with_loops_over_thresholds(decimals):
    """Also where many pairs are as alike as others."""
    rng = np.random.default_rng(decimals)
    same = rng.random(150) < 0.3
    similarities = (0.8 * same + rng.normal(size=150)).round(decimals)
    found = verification_metrics(similarities, same, false_accept_rates=RATES)
    assert found["roc_auc"] == pytest.approx(sklearn.roc_auc_score(same, similarities))
    curve = [(0.0, 0.0)] + [
        ((similarities[~same] >= t).mean(), (similarities[same] >= t).mean())
        for t in sorted(set(similarities.tolist()), reverse=True)
    ]
    for rate in RATES:
        best = max(true for false, true in curve if false <= rate)
        assert found[f"tar_at_far_{rate:g}"] == pytest.approx(best)
    # Along the curve, from threshold to threshold.
    false, true = (
        lambda at, each=each: np.interp(at, range(len(curve)), each)
        for each in zip(*curve, strict=True)
    )
    equal = optimize.brentq(lambda at: false(at) - (1 - true(at)), 0, len(curve) - 1)
    assert found["equal_error_rate"] == pytest.approx(false(equal))
    assert 0 < found["equal_error_rate"] < 0.5


def test_the_best_and_the_worst():
    similarities, same = np.array([0.9, 0.8, 0.1]), np.array([True, True, False])
    perfect = {"roc_auc": 1.0, "equal_error_rate": 0.0, "tar_at_far_0": 1.0}
    assert verification_metrics(similarities, same, false_accept_rates=(0,)) == perfect
    worst = {"roc_auc": 0.0, "equal_error_rate": 1.0, "tar_at_far_0": 0.0}
    assert verification_metrics(-similarities, same, false_accept_rates=(0,)) == worst
    alike = verification_metrics(np.ones(3), same)
    assert (alike["roc_auc"], alike["equal_error_rate"]) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("similarities", "same", "rates", "line"),
    [
        ([0.1, 0.2], [True, True], (0.1,), "same: 2 of 2 pairs are of one class"),
        ([0.1, 0.2], [False, False], (0.1,), "same: 0 of 2 pairs are of one class"),
        ([0.1, np.nan], [True, False], (0.1,), "similarities: 1 of 2 are NaN or infinity, first 1"),
        ([0.1, 0.2], [True], (0.1,), "same: must have a value for each of 2 pairs (got 1)"),
        ([0.1, 0.2], [True, False], (1.1,), "false_accept_rates: must be shares, 0 to 1 (got 1.1)"),
    ],
)
def test_pairs_without_a_curve_are_refused(similarities, same, rates, line):
    with pytest.raises(UserError) as error:
        verification_metrics(np.array(similarities), np.array(same), false_accept_rates=rates)
    assert str(error.value).startswith(line)
