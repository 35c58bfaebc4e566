import numpy as np
import pytest
from scipy import stats

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation import intervals
from darkrank_jax.evaluation.intervals import bootstrap_interval, over_seeds, paired_difference

VALUES = np.random.default_rng(2).gamma(2.0, size=80)


@pytest.mark.parametrize("confidence", [0.95, 0.5])
def test_the_interval_is_that_of_scipy_up_to_chance(confidence):
    """And neither queries that are left out nor the block of draws change it much."""
    expected = stats.bootstrap(
        (VALUES,), np.mean, confidence_level=confidence, n_resamples=20000, method="percentile"
    ).confidence_interval
    with_gaps = np.insert(VALUES, [3, 50], np.nan)
    found = bootstrap_interval(with_gaps, seed=1, confidence=confidence, resamples=20000)
    width = expected.high - expected.low
    np.testing.assert_allclose(found, expected, atol=0.05 * width)


def test_draws_follow_the_seed_and_not_the_block(monkeypatch):
    expected = bootstrap_interval(VALUES, seed=3)
    monkeypatch.setattr(intervals, "BLOCK", 80 * 7)
    assert bootstrap_interval(VALUES, seed=3) == pytest.approx(expected)
    assert bootstrap_interval(VALUES, seed=4) != expected


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(6)
    held = 0
    for seed in range(300):
        low, high = bootstrap_interval(rng.normal(5, 2, 60), seed=seed, confidence=0.8)
        held += low <= 5 <= high
    assert 0.72 <= held / 300 <= 0.87


def test_paired_runs_are_told_apart_by_their_differences():
    rng = np.random.default_rng(9)
    better = VALUES + rng.normal(0.05, 0.1, 80)
    better[:3] = np.nan
    found = paired_difference(better, VALUES, seed=0, resamples=4000)
    gaps = (better - VALUES)[3:]
    assert found["difference"] == pytest.approx(gaps.mean())
    assert 0 < found["low"] < gaps.mean() < found["high"]
    expected = stats.permutation_test(
        (gaps,), np.mean, permutation_type="samples", n_resamples=4000
    ).pvalue
    assert found["p_value"] == pytest.approx(expected, abs=0.01)
    # Unpaired, the runs cannot be told apart.
    assert stats.ttest_ind(better[3:], VALUES[3:]).pvalue > 0.3
    turned = paired_difference(VALUES, better, seed=0, resamples=4000)
    assert turned["difference"] == -found["difference"]
    assert turned["p_value"] == found["p_value"]


def test_the_p_value_counts_sign_patterns():
    """Of the 8 patterns of these differences, 2 have a mean as far from 0."""
    found = paired_difference(np.array([3.0, 2.0, 5.0]), np.array([1.0, 1.0, 1.0]), seed=5)
    assert found["p_value"] == pytest.approx(2 / 8, abs=0.05)
    same = paired_difference(VALUES, VALUES, seed=0)
    assert (same["difference"], same["p_value"]) == (0.0, 1.0)


def test_seeds_have_the_interval_of_student():
    values = np.array([0.51, 0.55, 0.48, 0.60])
    found = over_seeds(values, confidence=0.9)
    expected = stats.t.interval(0.9, 3, loc=values.mean(), scale=stats.sem(values))
    assert (found["low"], found["high"]) == pytest.approx(expected)
    assert found["std"] == pytest.approx(values.std(ddof=1))


@pytest.mark.parametrize(
    ("measure", "line"),
    [
        (
            lambda: bootstrap_interval(np.full(3, np.nan), seed=0),
            "values: none of 3 queries has one; give one that has a match",
        ),
        (
            lambda: bootstrap_interval(VALUES, seed=0, confidence=95),
            "confidence: must be a share between 0 and 1, such as 0.95 (got 95)",
        ),
        (
            lambda: paired_difference(VALUES, VALUES[1:], seed=0),
            "values: 80 queries are not the 79 of the other run; compare runs on the same split",
        ),
        (
            lambda: over_seeds(np.array([0.5])),
            "values: 1 of 1 seeds have one; give two seeds or more",
        ),
        (
            lambda: over_seeds(np.array([0.5, np.nan, 0.4])),
            "values: 2 of 3 seeds have one; give two seeds or more",
        ),
    ],
)
def test_what_has_no_interval_is_refused(measure, line):
    with pytest.raises(UserError) as error:
        measure()
    assert str(error.value) == line


def test_no_draws_are_refused():
    with pytest.raises(UserError, match=r"^resamples: must be 1 or more, such as 1000 \(got 0\)"):
        bootstrap_interval(np.arange(4.0), seed=0, resamples=0)
