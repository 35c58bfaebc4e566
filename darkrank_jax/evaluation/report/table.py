"""The section with all numbers: networks as columns, so that three fit on a phone."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from darkrank_jax.evaluation.protocols import COUNTS
from darkrank_jax.evaluation.report.forest import forest_figures
from darkrank_jax.evaluation.report.formatting import (
    count,
    duration,
    metric_name,
    p_value,
    percent,
    points,
    protocol_title,
    span,
)
from darkrank_jax.evaluation.report.markup import Html, join, named, tag

_COSTS: dict[str, tuple[str, Callable[[float], str]]] = {
    "parameters": ("Parameters", count),
    "images_per_second": ("Images/s", count),
    "steps": ("Steps", count),
    "training_seconds": ("Training time", duration),
}
# Metrics in which networks are compared with each other, beside their own figures.
_COMPARED = ("recall_at_1", "map_at_r", "mean_average_precision", "nmi")


def results_section(results: dict[str, Any]) -> Html:
    """Lays out quality, lead over the baseline, gap recovered and cost of every network.

    Args:
      results: what `results.json` holds, of one dataset.

    Returns:
      One table, a chart of intervals, and a note on what they mean.
    """
    networks = results["networks"]
    head = [tag("th", tag("bdi", name), scope="col") for name in networks]
    found = table(
        "Results",
        "Quality, gap recovered and cost of each network",
        [tag("td"), *head],
        *_bodies(networks),
    )
    return join([forest_figures(networks), found, _note(results)])


def table(label: str, caption: str, head: Iterable[Html], *bodies: Html) -> Html:
    """A table that scrolls by itself where the page is narrower, by keyboard as well."""
    heading = tag("thead", tag("tr", *head))
    whole = tag("table", tag("caption", caption), heading, *bodies)
    return tag("div", whole, class_="scroll", tabindex=0, role="region", aria_label=label)


def column_heads(titles: Iterable[str]) -> list[Html]:
    """The heads of columns."""
    return [tag("th", title, scope="col") for title in titles]


def cell(text: str, *below: str) -> Html:
    """One cell of a table of numbers, and the small print below each."""
    return tag("td", text, *(tag("small", line) for line in below))


def percentage(value: float) -> str:
    """A share of one in percent, without the sign, which the heading has."""
    return f"{100 * value:.1f}"


def quality_cell(row: dict[str, Any], metric: str) -> Html:
    """A metric of a network, with its interval where there is one."""
    if metric not in row["metrics"]:
        return cell("")
    interval = row.get("intervals", {}).get(metric)
    below = [span(interval[0], interval[1], percentage)] if interval else []
    return cell(percentage(row["metrics"][metric]), *below)


def lead_cell(row: dict[str, Any], metric: str, otherwise: str = "") -> Html:
    """A paired difference, its interval and its p-value, or small print where there is none."""
    found = row.get("difference", {}).get(metric)
    if found is None:
        return cell("", *filter(None, [otherwise]))
    interval = span(found["low"], found["high"], points)
    return cell(points(found["difference"]), interval, p_value(found["p_value"]))


def _bodies(networks: dict[str, Any]) -> list[Html]:
    """The groups of rows; a group without any number is left out."""
    columns = networks.values()
    metrics = _keys(row["metrics"] for row in columns)
    protocols = _keys(map(_further, columns))
    leads = _main(row.get("difference", {}) for row in columns)
    gaps = _main(row.get("gap_recovered", {}) for row in columns)
    costs = [key for key in _COSTS if any(key in row for row in columns)]
    groups = {
        "Quality, in %": [(metric_name(m), partial(quality_cell, metric=m)) for m in metrics],
        **{
            f"{protocol}, in %": [
                (metric_name(m), partial(_protocol_cell, protocol=protocol, metric=m))
                for m in _keys(_further(row).get(protocol, {}) for row in columns)
                if m not in COUNTS
            ]
            for protocol in protocols
        },
        "Lead over the baseline, in points": [
            (metric_name(m), partial(lead_cell, metric=m)) for m in leads
        ],
        "Gap recovered": [(metric_name(m), partial(_gap_cell, metric=m)) for m in gaps],
        "Cost": [(_COSTS[key][0], partial(_cost_cell, key=key)) for key in costs],
    }
    return [_group(title, rows, networks) for title, rows in groups.items() if rows]


def _keys(dictionaries: Iterable[dict[str, Any]]) -> list[str]:
    """All keys, in the order in which they first appear."""
    return list(dict.fromkeys(key for values in dictionaries for key in values))


def _main(dictionaries: Iterable[dict[str, Any]]) -> list[str]:
    """The keys of which the page compares networks; results.json has the others."""
    return [key for key in _keys(dictionaries) if key in _COMPARED]


def _group(
    title: str,
    rows: list[tuple[str, Callable[[dict[str, Any]], Html]]],
    networks: dict[str, dict[str, Any]],
) -> Html:
    """Rows under a title of their own, with a cell for each network."""
    heading = tag("th", title, scope="rowgroup", colspan=len(networks) + 1)
    lines = [
        tag("tr", tag("th", name, scope="row"), *map(make_cell, networks.values()))
        for name, make_cell in rows
    ]
    return tag("tbody", tag("tr", heading, class_="group"), *lines)


def _further(row: dict[str, Any]) -> dict[str, dict[str, float]]:
    """A network's metrics by further protocols, by their titles."""
    reid = {"re-identification across cameras": row["reid"]} if "reid" in row else {}
    measured = {
        protocol_title(each, found): found
        for each, found in (reid | row.get("protocols", {})).items()
    }
    return {title[0].upper() + title[1:]: found for title, found in measured.items()}


def protocol_tables(networks: dict[str, Any]) -> list[Html]:
    """A table of each further protocol, networks as rows.

    Args:
      networks: by name, each with "reid" or "protocols" where it was measured so.

    Returns:
      Tables, first of that across cameras.
    """
    tables = []
    for protocol in _keys(map(_further, networks.values())):
        metrics = [
            metric
            for metric in _keys(_further(row).get(protocol, {}) for row in networks.values())
            if metric not in COUNTS
        ]
        rows = [
            tag(
                "tr",
                tag("th", named(name), scope="row"),
                *(_protocol_cell(row, protocol, metric) for metric in metrics),
            )
            for name, row in networks.items()
            if protocol in _further(row)
        ]
        heads = column_heads(["Network", *map(metric_name, metrics)])
        tables.append(table(protocol, f"{protocol}, in %", heads, tag("tbody", *rows)))
    return tables


def _protocol_cell(row: dict[str, Any], protocol: str, metric: str) -> Html:
    """A metric by a further protocol."""
    value = _further(row).get(protocol, {}).get(metric)
    return cell("" if value is None else percentage(value))


def _gap_cell(row: dict[str, Any], metric: str) -> Html:
    """The gap recovered, a dash where there was none."""
    gaps = row.get("gap_recovered", {})
    if metric not in gaps:
        return cell("")
    return cell("\N{EN DASH}" if gaps[metric] is None else percent(gaps[metric], 0))


def _cost_cell(row: dict[str, Any], key: str) -> Html:
    """What a network costs."""
    return cell(_COSTS[key][1](row[key]) if key in row else "")


def _note(results: dict[str, Any]) -> Html:
    """What the numbers mean and how far chance moves them."""
    networks, dataset = results["networks"], results["dataset"]
    sentences = [
        f"{_searching(dataset)} Small print is the 95\xa0% "
        "bootstrap interval over queries: how far the figure moves with other queries of the same "
        f"kind. Training adds the spread between seeds; this is one run, with seed "
        f"{results['seed']}."
    ]
    if any("difference" in row for row in networks.values()):
        sentences.append(
            " The lead over the baseline is compared query by query, which is sharper than "
            "comparing two intervals; p is that of a randomisation test."
        )
    if any("gap_recovered" in row for row in networks.values()):
        sentences.append(
            " Gap recovered is (student \N{MINUS SIGN} baseline) / (teacher \N{MINUS SIGN} "
            "baseline), and a dash where the teacher is not better than the baseline."
        )
    return tag("p", join(sentences), class_="note")


def _searching(dataset: dict[str, Any]) -> str:
    """What searches what, in a sentence."""
    images, queries = dataset["images"], dataset["queries"]
    if queries == images:
        return f"Every one of the {images:,} images queries the others."
    found = f"{queries:,} images are queries, and search the other {images - queries:,}."
    if "distractors" not in dataset:
        return found
    return (
        f"{found} Where distractors are named, {dataset['distractors']['images']:,} images of "
        f"{dataset['distractors']['source']} are in the gallery too, and never right."
    )
