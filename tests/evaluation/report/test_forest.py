"""Intervals of all networks are drawn to scale."""

import re

import pytest

from darkrank_jax.evaluation.report.forest import forest_figures
from tests.evaluation.report.made import network


def test_whiskers_and_points_are_drawn_to_one_scale():
    networks = {"a": network(0.5), "b": network(0.7)}
    section = forest_figures(networks)
    first = section[: section.index("MAP@R, in")]
    whiskers = [
        tuple(map(float, each))
        for each in re.findall(r'<line x1="([\d.]+)" x2="([\d.]+)" [^>]*class="whisker', first)
    ]
    points = [float(each) for each in re.findall(r'<circle cx="([\d.]+)"', first)]
    assert len(whiskers) == len(points) == 2
    scale = (points[1] - points[0]) / 0.2
    for (low, high), point, recall in zip(whiskers, points, (0.5, 0.7), strict=True):
        assert low - points[0] == pytest.approx(scale * (recall - 0.06 - 0.5), abs=0.3)
        assert high - point == pytest.approx(scale * 0.05, abs=0.3)
    assert "a 50.0, from 44.0 to 55.0; b 70.0, from 64.0 to 75.0" in first


def test_a_network_without_intervals_has_no_line_and_long_names_are_cut():
    networks = {"a" * 60: network(0.5), "plain": network(0.4, intervals={})}
    section = forest_figures(networks)
    assert "plain" not in section
    assert f">{'a' * 47}…<" in section
    assert forest_figures({"plain": networks["plain"]}) == ""
