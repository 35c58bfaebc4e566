"""Histograms of distances, and the error rate at their threshold."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkrank_jax.evaluation.report import Measured
from darkrank_jax.evaluation.report.distance_histograms import distances_section, equal_error


def slow_equal_error(same, other):
    """Tries every threshold."""
    rates = []
    for threshold in sorted({*same, *other}):
        missed = Fraction(sum(d > threshold for d in same), len(same))
        taken = Fraction(sum(d <= threshold for d in other), len(other))
        rates.append((abs(missed - taken), threshold, (missed + taken) / 2))
    _, threshold, rate = min(rates)
    return threshold, float(rate)


@settings(deadline=None, max_examples=40)
@given(
    same=st.lists(st.integers(0, 9).map(float), min_size=1, max_size=9),
    other=st.lists(st.integers(3, 14).map(float), min_size=1, max_size=9),
)
def test_the_equal_error_rate_equals_a_slow_loop(same, other):
    threshold, rate = equal_error(np.array(same), np.array(other))
    expected = slow_equal_error(same, other)
    assert (threshold, rate) == pytest.approx(expected)


def test_distances_are_of_pairs_of_the_same_and_of_different_classes():
    """Two classes: pairs of one class are 1 apart, pairs of two classes 10 or more."""
    labels = np.array([0, 1, 0, 1, 2])
    embeddings = np.array([[0.0], [10.0], [1.0], [11.0], [30.0]])
    measured = Measured(labels, ("a", "b", "c"), {"student": embeddings}, {})
    section = distances_section(measured, ["student"], seed=0)
    assert "The median of same class is 1." in section
    assert "equal error rate 0.0\xa0% at 1" in section
    alone = measured._replace(labels=np.arange(5), class_names=tuple("abcde"))
    assert distances_section(alone, ["student"], seed=0) == ""
