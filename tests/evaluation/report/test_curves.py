"""Learning curves are drawn to scale."""

import numpy as np
import pytest

from darkrank_jax.evaluation.report.curves import curves_section
from tests.evaluation.report.made import points_of


def test_a_curve_is_drawn_to_scale():
    rows = [{"step": s, "loss": v} for s, v in [(0, 5.0), (50, 1.0), (100, 4.0)]]
    (line,) = points_of(curves_section({"student": rows}))
    (x0, y0), (x1, y1), (x2, y2) = line
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    # Downwards on the page is positive: the fall is 4 and the rise 3 parts.
    assert (y1 - y0) / (y1 - y2) == pytest.approx(4 / 3, rel=0.01)


def test_values_that_are_not_numbers_are_left_out_of_curves():
    losses = [2.0, float("nan"), None, float("inf"), 1.0]
    rows = [{"step": 10 * i, "loss": loss} for i, loss in enumerate(losses)]
    (line,) = points_of(curves_section({"student": rows}))
    assert len(line) == 2
    assert curves_section({"student": rows[1:4]}) == ""


def test_a_long_curve_is_averaged_in_blocks():
    rows = [{"step": step, "loss": float(step % 2)} for step in range(1000)]
    (line,) = points_of(curves_section({"student": rows}))
    assert len(line) == 200
    # Blocks of five hold two or three ones.
    heights = {y for _, y in line}
    assert len(heights) == 2


def test_a_curve_of_one_point_or_of_zeros_is_drawn():
    for rows in ([{"step": 1, "loss": 2.0}], [{"step": 0, "loss": 0.0}, {"step": 0, "loss": 0.0}]):
        (line,) = points_of(curves_section({"student": rows}))
        assert np.isfinite(line).all()
