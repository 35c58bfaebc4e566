"""The section with the learning curves."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from darkrank_jax.evaluation.report.chart import X_PLACES, Y_PLACES, line_chart, linear_axis, styles
from darkrank_jax.evaluation.report.markup import Html, join, tag

_MOST_POINTS = 200

Points = list[tuple[int | float, int | float]]


def curves_section(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> Html:
    """Draws validation Recall@1 of all networks together, and the loss of each by itself.

    Args:
      curves: network -> rows of `metrics.jsonl`, training and validation rows mixed.

    Returns:
      Figures, or nothing where there is no curve.
    """
    style = styles(curves)
    recall = _series(curves, "validation/recall_at_1", scale=100)
    loss = _series(curves, "loss")
    figures = [_figure("Validation Recall@1, in %", recall, style)] if recall else []
    figures += [_figure("Training loss", {name: loss[name]}, style) for name in loss]
    if not figures:
        return Html("")
    note = (
        "Losses are sums of different terms and cannot be compared between networks, so each has "
        f"an axis of its own. A curve of more than {_MOST_POINTS} points is averaged in blocks."
    )
    return join([tag("div", *figures, class_="charts"), tag("p", note, class_="note")])


def _series(curves: Mapping[str, Any], key: str, scale: int = 1) -> dict[str, Points]:
    """The finite values of one key by step, of every network that has any."""
    series = {
        name: [
            (row["step"], scale * row[key])
            for row in rows
            if row.get(key) is not None and isfinite(row[key])
        ]
        for name, rows in curves.items()
    }
    return {name: _thinned(points) for name, points in series.items() if points}


def _thinned(points: Points) -> Points:
    """At most `_MOST_POINTS` points, each the mean of a block of neighbours."""
    if len(points) <= _MOST_POINTS:
        return points
    return [tuple(block.mean(axis=0)) for block in np.array_split(np.array(points), _MOST_POINTS)]


def _figure(title: str, series: dict[str, Points], style: dict[str, str]) -> Html:
    """One chart with its title and the key to its lines."""
    steps, values = np.array([p for points in series.values() for p in points], float).T
    x = linear_axis(0, steps.max(), X_PLACES)
    y = linear_axis(values.min(), values.max(), Y_PLACES)
    return line_chart(title, (x, y), "step", series, style, label=_in_words(title, series))


def _in_words(title: str, series: dict[str, Points]) -> str:
    """What a chart shows, for those who hear the page: where each line starts and ends."""
    lines = [
        f"{name}: from {first:.3g} at step {start:.0f} to {last:.3g} at step {end:.0f}."
        for name, points in series.items()
        for (start, first), (end, last) in [(points[0], points[-1])]
    ]
    return f"{title}, by step. {' '.join(lines)}"
