"""Charts as SVG that follows the colours of the page: axes, grids, keys."""

from collections.abc import Mapping, Sequence
from math import floor, log10
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator

from darkrank_jax.evaluation.report.markup import Html, tag

# Of a drawing, in units of its viewBox; the margins hold the numbers of the axes.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 400, 240, 46, 16, 12, 34
# The ends of a horizontal axis, and of a vertical one, upwards.
X_PLACES, Y_PLACES = (LEFT, WIDTH - RIGHT), (HEIGHT - BOTTOM, TOP)
# How many line styles the style sheet has (.series-0 and so on); then they repeat.
_STYLES = 8
# Marks of a scatter, around the origin; with the colours they tell 32 networks apart.
_MARKS = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z",
    "M-4.5-4.5h9v9h-9z",
    "M0-6L5.5 4H-5.5z",
    "M0-6L6 0L0 6L-6 0z",
)


class Axis(NamedTuple):
    """From values to places on the drawing.

    Attributes:
      ticks: values that are written, ascending.
      span: the least and the largest value.
      places: where those two are drawn.
      log: whether equal ratios are equally far apart.
    """

    ticks: list[float]
    span: tuple[float, float]
    places: tuple[float, float]
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value is drawn, to a tenth."""
        span = self.span
        if self.log:
            value, span = log10(value), (log10(span[0]), log10(span[1]))
        return round(float(np.interp(value, span, self.places)), 1)


def linear_axis(low: float, high: float, places: tuple[float, float], bins: int = 5) -> Axis:
    """An axis between round numbers that enclose an interval, which may be a point."""
    high = high if high > low else low + max(abs(low), 1)
    ticks = list(MaxNLocator(nbins=bins, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))
    return Axis(ticks, (ticks[0], ticks[-1]), places)


def log_axis(low: float, high: float, places: tuple[float, float]) -> Axis:
    """An axis of ratios with ticks at 1, 2 and 5, or at whole powers where those are too many."""
    exponents = range(floor(log10(low)), floor(log10(high)) + 2)
    fine = [digit * 10.0**exponent for exponent in exponents for digit in (1, 2, 5)]
    coarse = [10.0**exponent for exponent in exponents]
    for candidates in (fine, coarse):
        below = max((tick for tick in candidates if tick <= low), default=candidates[0])
        above = min((tick for tick in candidates if tick >= high), default=candidates[-1])
        above = above if above > below else 10 * below
        ticks = [tick for tick in candidates if below <= tick <= above]
        if len(ticks) <= 8:
            break
    return Axis(ticks, (below, above), places, log=True)


def number(value: float) -> str:
    """How an axis writes a number: short, so that it fits under its tick.

    Example:
      >>> number(0.25), number(-20.0), number(5000.0), number(50_000.0), number(2e6)
      ('0.25', '−20', '5,000', '50k', '2M')
    """
    text = f"{value:,g}"
    for least, unit, suffix in ((1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            text = f"{value / unit:g}{suffix}"
            break
    return text.replace("-", "\N{MINUS SIGN}")


def frame(x: Axis, y: Axis, unit: str) -> list[Html]:
    """Grid and numbers of both axes, and the unit of the horizontal one."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    grid = [
        tag("line", x1=LEFT, x2=right, y1=y.place(t), y2=y.place(t), class_="grid") for t in y.ticks
    ]
    numbers = [
        tag("text", number(t), x=LEFT - 8, y=y.place(t) + 4, class_="y-tick") for t in y.ticks
    ]
    numbers += [
        tag("text", number(t), x=x.place(t), y=bottom + 16, class_="x-tick") for t in x.ticks
    ]
    return [*grid, *numbers, tag("text", unit, x=right, y=HEIGHT - 3, class_="y-tick")]


def drawing(*parts: Html, label: str, height: float = HEIGHT) -> Html:
    """A picture of shapes, with what it shows in words."""
    box = f"0 0 {WIDTH} {height:g}"
    return tag("svg", *parts, viewBox=box, role="img", aria_label=label)


def figure(title: str, chart: Html, key: list[Html] | None = None) -> Html:
    """One chart with its title and the key to its lines."""
    entries = [tag("ul", *key, class_="key")] if key else []
    return tag("figure", tag("figcaption", title, *entries), chart)


def key_entry(sample: Html, name: str) -> Html:
    """A line of a key: what it looks like and what it is."""
    return tag("li", sample, " ", tag("bdi", name))


def line_sample(style: str) -> Html:
    """A short piece of a line."""
    line = tag("line", x1=0, y1=5, x2=28, y2=5, class_=f"curve {style}")
    return tag("svg", line, viewBox="0 0 28 10", width=28, height=10, aria_hidden="true")


def mark_sample(index: int) -> Html:
    """A mark of a scatter by itself."""
    mark = mark_at(index, 7, 7)
    return tag("svg", mark, viewBox="0 0 14 14", width=14, height=14, aria_hidden="true")


def mark_at(index: int, x: float, y: float) -> Html:
    """The mark of the network that comes at a place in the list."""
    shape = _MARKS[index // _STYLES % len(_MARKS)]
    style = f"mark-point fill-{index % _STYLES}"
    return tag("path", d=shape, transform=f"translate({x} {y})", class_=style)


def styles(names) -> dict[str, str]:
    """The line style of each network, by its place."""
    return {name: f"series-{index % _STYLES}" for index, name in enumerate(names)}


def polyline(points: list[tuple[float, float]], style: str) -> Html:
    """A line through places."""
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    return tag("polyline", points=path, class_=f"curve {style}")


def line_chart(
    title: str,
    axes: tuple[Axis, Axis],
    unit: str,
    series: Mapping[str, Sequence[Sequence[float]]],
    style: Mapping[str, str],
    *,
    label: str,
    marks: Sequence[Html] = (),
) -> Html:
    """Lines in a frame, with the key to them.

    Args:
      title: of the figure.
      axes: horizontal and vertical.
      unit: of the horizontal axis.
      series: network -> its points, values on both axes.
      style: of `styles`.
      label: what the chart shows, in words.
      marks: drawn on top.
    """
    x, y = axes
    lines = [
        polyline([(x.place(first), y.place(second)) for first, second in points], style[name])
        for name, points in series.items()
    ]
    key = [key_entry(line_sample(style[name]), name) for name in series]
    return figure(title, drawing(*frame(x, y, unit), *lines, *marks, label=label), key)
