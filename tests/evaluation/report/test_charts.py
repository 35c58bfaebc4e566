"""Curves and charts are drawn to scale, and say in words what they show."""

import re

import numpy as np
import pytest

from darkrank_jax.evaluation.report.agreement_charts import agreement_section
from darkrank_jax.evaluation.report.chart import linear_axis, log_axis
from darkrank_jax.evaluation.report.compared_networks import compared_networks
from darkrank_jax.evaluation.report.curves import curves_section
from darkrank_jax.evaluation.report.recall import recall_section
from darkrank_jax.evaluation.report.tradeoff import tradeoff_section
from tests.evaluation.report.made import network, points_of, run_results


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


def test_the_recall_curve_and_its_whiskers_are_drawn_to_scale():
    row = network(0.5) | {"recall_curve": [[1, 0.5], [10, 0.75], [100, 1.0]]}
    row["intervals"] = {"recall_at_1": [0.4, 0.6], "map_at_r": [0, 1]}
    section = recall_section({"student": row})
    ((x0, y0), (x1, y1), (x2, y2)), *_ = points_of(section)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    ((low, high),) = re.findall(r'y1="([\d.]+)" y2="([\d.]+)" class="whisker', section)
    # The whisker is 20 points long and the curve rises by 50.
    assert (float(low) - float(high)) / (y0 - y2) == pytest.approx(0.4, rel=0.01)
    assert "student: from 50.0 at 1 to 100.0 at 100." in section
    assert recall_section({"student": row | {"recall_curve": []}}) == ""


def test_speed_against_quality_needs_two_networks_with_a_cost():
    networks = run_results()["networks"]
    section = tradeoff_section(networks)
    assert "teacher 80.0\xa0% at 1,000; baseline 50.0\xa0% at 5,200" in section
    assert section.count('class="mark-point') == 2 * (3 + 3)  # the key has them too
    assert tradeoff_section({"student": networks["student"]}) == ""


def test_agreement_is_drawn_by_length_of_list():
    results = run_results()
    section = agreement_section(results, compared_networks(results["networks"]))
    assert "student: 25 at 1, 50 at 10." in section
    assert "student: -0.125 at 10." in section
    assert "K of 59" in section
    assert "student reaches a Recall@1 of 37.5\xa0%" in section
    alone = run_results(teacher=None)
    assert agreement_section(alone, compared_networks(alone["networks"])) == ""
