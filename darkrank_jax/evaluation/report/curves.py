"""The section with the learning curves, as SVG that follows the colours of the page."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from darkrank_jax.evaluation.report.markup import Html, tag

# Of the drawing, in units of its viewBox; the margins hold the numbers of the axes.
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 400, 240, 46, 16, 12, 34
_MOST_POINTS = 200
# How many line styles the style sheet has (.series-0 and so on); then they repeat.
_STYLES = 8

Points = list[tuple[int | float, int | float]]


def curves_section(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> Html:
    """Draws validation Recall@1 of all networks together, and the loss of each by itself.

    Args:
      curves: network -> rows of `metrics.jsonl`, training and validation rows mixed.

    Returns:
      A section of figures, or nothing where there is no curve.
    """
    style = {name: f"series-{i % _STYLES}" for i, name in enumerate(curves)}
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
    heading, grid = tag("h2", "Learning curves"), tag("div", *figures, class_="charts")
    return tag("section", heading, grid, tag("p", note, class_="note"))


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
    key = [
        tag("li", _sample(style[name]), " ", tag("bdi", name), class_="key-entry")
        for name in series
    ]
    caption = tag("figcaption", title, tag("ul", *key, class_="key"))
    return tag("figure", caption, _chart(title, series, style))


def _sample(style: str) -> Html:
    """A short piece of a line, for the key."""
    line = tag("line", x1=0, y1=5, x2=28, y2=5, class_=f"curve {style}")
    return tag("svg", line, viewBox="0 0 28 10", width=28, height=10, aria_hidden="true")


def _chart(title: str, series: dict[str, Points], style: dict[str, str]) -> Html:
    """Axes and lines."""
    steps, values = np.array([p for points in series.values() for p in points], float).T
    x_ticks, y_ticks = _ticks(0, steps.max()), _ticks(values.min(), values.max())
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def x(step: int | float) -> float:
        return round(float(np.interp(step, [0, x_ticks[-1]], [_LEFT, right])), 1)

    def y(value: int | float) -> float:
        return round(float(np.interp(value, [y_ticks[0], y_ticks[-1]], [bottom, _TOP])), 1)

    grid = [tag("line", x1=_LEFT, x2=right, y1=y(t), y2=y(t), class_="grid") for t in y_ticks]
    numbers = [tag("text", f"{t:,g}", x=_LEFT - 8, y=y(t) + 4, class_="y-tick") for t in y_ticks]
    numbers += [tag("text", f"{t:,g}", x=x(t), y=bottom + 16, class_="x-tick") for t in x_ticks]
    unit = tag("text", "step", x=right, y=_HEIGHT - 3, class_="y-tick")
    lines = []
    for name, points in series.items():
        path = " ".join(f"{x(step)},{y(value)}" for step, value in points)
        lines.append(tag("polyline", points=path, class_=f"curve {style[name]}"))
    box = f"0 0 {_WIDTH} {_HEIGHT}"
    label = _in_words(title, series)
    return tag("svg", *grid, *numbers, unit, *lines, viewBox=box, role="img", aria_label=label)


def _in_words(title: str, series: dict[str, Points]) -> str:
    """What a chart shows, for those who hear the page: where each line starts and ends."""
    lines = [
        f"{name}: from {first:.3g} at step {start:.0f} to {last:.3g} at step {end:.0f}."
        for name, points in series.items()
        for (start, first), (end, last) in [(points[0], points[-1])]
    ]
    return f"{title}, by step. {' '.join(lines)}"


def _ticks(low: int | float, high: int | float) -> list[float]:
    """Round numbers that enclose an interval, which may be a point."""
    high = high if high > low else low + max(abs(low), 1)
    return list(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))
