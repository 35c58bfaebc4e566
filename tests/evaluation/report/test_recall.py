"""The recall curve is drawn to scale."""

import re

import pytest

from darkrank_jax.evaluation.report.recall import recall_section
from tests.evaluation.report.made import network, points_of


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
