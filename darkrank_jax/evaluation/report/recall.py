"""The recall curve: how many queries have a match among their first K images."""

from typing import Any

from darkrank_jax.evaluation.report.chart import (
    X_PLACES,
    Y_PLACES,
    line_chart,
    linear_axis,
    log_axis,
    styles,
)
from darkrank_jax.evaluation.report.markup import Html, tag


def recall_section(networks: dict[str, Any]) -> Html:
    """Draws Recall@K by K of every network that has a curve.

    Args:
      networks: of results.json; `recall_curve` is a list of [K, share].

    Returns:
      A chart with whiskers where results.json has intervals, or nothing.
    """
    curves = {n: row["recall_curve"] for n, row in networks.items() if row.get("recall_curve")}
    if not curves or max(len(curve) for curve in curves.values()) < 2:
        return Html("")
    style = styles(curves)
    shares = [share for curve in curves.values() for _, share in curve]
    low = min(shares + [low for name in curves for _, (low, _) in _intervals(networks[name])])
    x = log_axis(1, max(curve[-1][0] for curve in curves.values()), X_PLACES)
    y = linear_axis(100 * low, 100, Y_PLACES)
    whiskers = [
        tag(
            "line",
            x1=x.place(k),
            x2=x.place(k),
            y1=y.place(100 * least),
            y2=y.place(100 * most),
            class_=f"whisker {style[name]} solid",
        )
        for name in curves
        for k, (least, most) in _intervals(networks[name])
    ]
    series = {name: [(k, 100 * share) for k, share in curve] for name, curve in curves.items()}
    label = f"Recall at K in percent, by K. {' '.join(_in_words(n, c) for n, c in curves.items())}"
    unit = "K, images looked at"
    chart = line_chart("Recall@K, in %", (x, y), unit, series, style, label=label, marks=whiskers)
    return tag("div", chart, class_="charts one")


def _intervals(row: dict[str, Any]) -> list[tuple[int, tuple[float, float]]]:
    """The K of which Recall@K has an interval."""
    prefix = "recall_at_"
    return [
        (int(metric.removeprefix(prefix)), (low, high))
        for metric, (low, high) in row.get("intervals", {}).items()
        if metric.startswith(prefix)
    ]


def _in_words(name: str, curve: list[list[float]]) -> str:
    """Where a curve starts and ends."""
    (first, start), (last, end) = curve[0], curve[-1]
    return f"{name}: from {100 * start:.1f} at {first} to {100 * end:.1f} at {last}."
