"""Charts of intervals: how sure each figure is, networks below each other."""

from typing import Any

from darkrank_jax.evaluation.report.chart import (
    RIGHT,
    WIDTH,
    Axis,
    drawing,
    figure,
    linear_axis,
    number,
)
from darkrank_jax.evaluation.report.formatting import metric_name
from darkrank_jax.evaluation.report.markup import Html, tag

_METRICS = ("recall_at_1", "map_at_r")
_TOP, _LINE, _BOTTOM = 4, 38, 22
# A longer name would run out of the drawing.
_LONGEST_NAME = 48


def forest_figures(networks: dict[str, Any]) -> Html:
    """Draws the 95 % intervals of Recall@1 and MAP@R of every network.

    Args:
      networks: of results.json.

    Returns:
      Two charts, or nothing where no network has intervals.
    """
    figures = []
    for metric in _METRICS:
        rows = {
            name: (row["metrics"][metric], *row["intervals"][metric])
            for name, row in networks.items()
            if metric in row.get("intervals", {})
        }
        if rows:
            figures.append(figure(f"{metric_name(metric)}, in %", _chart(metric, rows)))
    return tag("div", *figures, class_="charts") if figures else Html("")


def _chart(metric: str, rows: dict[str, tuple[float, float, float]]) -> Html:
    """A line for each network: its name, a point and a whisker."""
    bottom = _TOP + _LINE * len(rows)
    low, high = min(row[1] for row in rows.values()), max(row[2] for row in rows.values())
    axis = linear_axis(100 * low, 100 * high, (RIGHT, WIDTH - RIGHT))
    parts = [_grid_line(axis, tick, bottom) for tick in axis.ticks]
    for index, (name, row) in enumerate(rows.items()):
        parts += _line(axis, _TOP + _LINE * index, index, name, row)
    words = "; ".join(
        f"{name} {100 * value:.1f}, from {100 * low:.1f} to {100 * high:.1f}"
        for name, (value, low, high) in rows.items()
    )
    label = f"{metric_name(metric)} in percent with its 95 % interval: {words}."
    return drawing(*parts, label=label, height=bottom + _BOTTOM)


def _grid_line(axis: Axis, tick: float, bottom: float) -> Html:
    """A tick with its number below."""
    x = axis.place(tick)
    line = tag("line", x1=x, x2=x, y1=_TOP, y2=bottom, class_="grid")
    return tag("g", line, tag("text", number(tick), x=x, y=bottom + 16, class_="x-tick"))


def _line(
    axis: Axis, y: float, index: int, name: str, row: tuple[float, float, float]
) -> list[Html]:
    """The name above its whisker and point."""
    value, low, high = (axis.place(100 * x) for x in row)
    style, middle = index % 8, y + 27
    shown = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    return [
        # Before the whisker, so that a name may be as long as the chart is wide.
        tag("text", shown, x=RIGHT, y=y + 14, class_="name"),
        tag("line", x1=low, x2=high, y1=middle, y2=middle, class_=f"whisker series-{style} solid"),
        tag("circle", cx=value, cy=middle, r=4.5, class_=f"fill-{style}"),
    ]
