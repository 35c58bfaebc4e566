"""Axes of charts."""

import numpy as np
import pytest

from darkrank_jax.evaluation.report.chart import linear_axis, log_axis


@pytest.mark.parametrize(("low", "high"), [(0.3, 7.0), (1, 100), (46714, 708144), (5, 5), (1, 1e7)])
def test_a_log_axis_encloses_its_values_and_puts_equal_ratios_equally_far(low, high):
    axis = log_axis(low, high, (0, 400))
    assert axis.ticks[0] <= low <= high <= axis.ticks[-1]
    assert 2 <= len(axis.ticks) <= 12
    middle = np.sqrt(axis.ticks[0] * axis.ticks[-1])
    assert axis.place(middle) == pytest.approx(200, abs=0.1)
    assert (axis.place(axis.ticks[0]), axis.place(axis.ticks[-1])) == (0, 400)


@pytest.mark.parametrize(("low", "high"), [(0.3, 7.0), (-2, 1), (0, 0), (5, 5)])
def test_a_linear_axis_encloses_its_values(low, high):
    axis = linear_axis(low, high, (240, 0))
    assert axis.ticks[0] <= low <= high <= axis.ticks[-1]
    assert (axis.place(axis.ticks[0]), axis.place(axis.ticks[-1])) == (240, 0)
