"""Speed against quality: what each network costs for what it reaches."""

from typing import Any

from darkrank_jax.evaluation.report.chart import (
    X_PLACES,
    Y_PLACES,
    drawing,
    figure,
    frame,
    key_entry,
    linear_axis,
    log_axis,
    mark_at,
    mark_sample,
)
from darkrank_jax.evaluation.report.formatting import count, percent
from darkrank_jax.evaluation.report.markup import Html, join, tag

_COSTS = {"images_per_second": "images a second", "parameters": "parameters"}


def tradeoff_section(networks: dict[str, Any]) -> Html:
    """Draws Recall@1 by throughput and by size of every network whose cost is known.

    Args:
      networks: of results.json, or of several runs together.

    Returns:
      Two charts, or nothing where fewer than two networks have a cost.
    """
    known = {name: row for name, row in networks.items() if all(cost in row for cost in _COSTS)}
    if len(known) < 2:
        return Html("")
    figures = [_figure(cost, unit, known) for cost, unit in _COSTS.items()]
    note = (
        "Up is better; on the left chart, right is faster, on the right chart, left is smaller. "
        "Throughput is of one machine at batches of 256 images, and moves by some percent from "
        "run to run. Whiskers are 95\xa0% intervals over queries."
    )
    return join([tag("div", *figures, class_="charts"), tag("p", note, class_="note")])


def _figure(cost: str, unit: str, networks: dict[str, Any]) -> Html:
    """One chart: a mark and a whisker for each network."""
    costs = [row[cost] for row in networks.values()]
    spans = [_span(row) for row in networks.values()]
    x = log_axis(min(costs), max(costs), X_PLACES)
    y = linear_axis(min(low for low, _ in spans), max(high for _, high in spans), Y_PLACES)
    marks = []
    for index, row in enumerate(networks.values()):
        place, (low, high) = x.place(row[cost]), map(y.place, _span(row))
        whisker = {"x1": place, "x2": place, "y1": low, "y2": high}
        marks.append(tag("line", **whisker, class_=f"whisker series-{index % 8} solid"))
    for index, row in enumerate(networks.values()):
        marks.append(mark_at(index, x.place(row[cost]), y.place(100 * _recall(row))))
    words = "; ".join(
        f"{name} {percent(_recall(row))} at {count(row[cost])}" for name, row in networks.items()
    )
    chart = drawing(*frame(x, y, unit), *marks, label=f"Recall@1 by {unit}: {words}.")
    key = [key_entry(mark_sample(index), name) for index, name in enumerate(networks)]
    return figure(f"Recall@1 in %, by {unit}", chart, key)


def _recall(row: dict[str, Any]) -> float:
    """Recall@1 of a network."""
    return row["metrics"]["recall_at_1"]


def _span(row: dict[str, Any]) -> tuple[float, float]:
    """The interval of Recall@1 in percent, or the figure itself twice."""
    low, high = row.get("intervals", {}).get("recall_at_1", (_recall(row),) * 2)
    return 100 * low, 100 * high
