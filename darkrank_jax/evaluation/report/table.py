"""The section with all numbers: networks as columns, so that three fit on a phone."""

from collections.abc import Callable, Iterable
from typing import Any

from darkrank_jax.evaluation.report.forest import forest_figures
from darkrank_jax.evaluation.report.formatting import (
    count,
    duration,
    metric_name,
    p_value,
    percent,
    points,
    span,
)
from darkrank_jax.evaluation.report.markup import Html, join, tag

_COSTS: dict[str, tuple[str, Callable[[float], str]]] = {
    "parameters": ("Parameters", count),
    "images_per_second": ("Images/s", count),
    "steps": ("Steps", count),
    "training_seconds": ("Training time", duration),
}
# Metrics in which networks are compared with each other, beside their own figures.
_COMPARED = ("recall_at_1", "map_at_r", "mean_average_precision", "nmi")
Cell = tuple[str, ...]


def results_section(results: dict[str, Any]) -> Html:
    """Lays out quality, lead over the baseline, gap recovered and cost of every network.

    Args:
      results: what `results.json` holds, of one dataset.

    Returns:
      One table, a chart of intervals, and a note on what they mean.
    """
    networks = results["networks"]
    head = [tag("th", tag("bdi", name), scope="col") for name in networks]
    table = tag(
        "table",
        tag("caption", "Quality, gap recovered and cost of each network"),
        tag("thead", tag("tr", tag("td"), *head)),
        *_bodies(networks),
    )
    return join([forest_figures(networks), scroll(table, "Results"), _note(results)])


def scroll(table: Html, label: str) -> Html:
    """A table that scrolls by itself where the page is narrower, by keyboard as well."""
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=label)


def cell(text: str, *below: str) -> Html:
    """One cell of a table of numbers, and the small print below each."""
    return tag("td", text, *(tag("small", line) for line in below))


def percentage(value: float) -> str:
    """A share of one in percent, without the sign, which the heading has."""
    return f"{100 * value:.1f}"


def _bodies(networks: dict[str, Any]) -> list[Html]:
    """The groups of rows; a group without any number is left out."""
    columns = networks.values()
    metrics = _keys(row["metrics"] for row in columns)
    further = {name: _further(row) for name, row in networks.items()}
    protocols = _keys(further.values())
    leads = _main(row.get("difference", {}) for row in columns)
    gaps = _main(row.get("gap_recovered", {}) for row in columns)
    groups = {
        "Quality, in %": [_row(metric_name(m), networks, _quality(m)) for m in metrics],
        **{
            f"{protocol}, in %": [
                _row(metric_name(metric), further, _under(protocol, metric))
                for metric in _keys(found.get(protocol, {}) for found in further.values())
                if metric != "queries_alone"
            ]
            for protocol in protocols
        },
        "Lead over the baseline, in points": [
            _row(metric_name(m), networks, _lead(m)) for m in leads
        ],
        "Gap recovered": [_row(metric_name(m), networks, _gap(m)) for m in gaps],
        "Cost": [
            _row(title, networks, _cost(key, form))
            for key, (title, form) in _COSTS.items()
            if any(key in row for row in columns)
        ],
    }
    return [_group(title, rows, len(networks) + 1) for title, rows in groups.items() if rows]


def _keys(dictionaries: Iterable[dict[str, Any]]) -> list[str]:
    """All keys, in the order in which they first appear."""
    return list(dict.fromkeys(key for values in dictionaries for key in values))


def _main(dictionaries: Iterable[dict[str, Any]]) -> list[str]:
    """The keys of which the page compares networks; results.json has the others."""
    return [key for key in _keys(dictionaries) if key in _COMPARED]


def _group(title: str, rows: list[Html], columns: int) -> Html:
    """Rows under a title of their own."""
    heading = tag("th", title, scope="rowgroup", colspan=columns)
    return tag("tbody", tag("tr", heading, class_="group"), *rows)


def _row(title: str, networks: dict[str, Any], read: Callable[[dict[str, Any]], Cell]) -> Html:
    """One quantity of every network: empty where it does not apply."""
    cells = [cell(*read(row)) for row in networks.values()]
    return tag("tr", tag("th", title, scope="row"), *cells)


def _quality(metric: str) -> Callable[[dict[str, Any]], Cell]:
    """A metric, with its interval where there is one."""

    def read(row: dict[str, Any]) -> Cell:
        value = row["metrics"].get(metric)
        if value is None:
            return ("",)
        interval = row.get("intervals", {}).get(metric)
        return percentage(value), *(
            [span(interval[0], interval[1], percentage)] if interval else []
        )

    return read


def _further(row: dict[str, Any]) -> dict[str, dict[str, float]]:
    """A network's metrics by further protocols, by their titles."""
    named = {each.replace("_", " "): found for each, found in row.get("protocols", {}).items()}
    titled = {title[0].upper() + title[1:]: found for title, found in named.items()}
    reid = {"Re-identification across cameras": row["reid"]} if "reid" in row else {}
    return reid | titled


def _under(protocol: str, metric: str) -> Callable[[dict[str, Any]], Cell]:
    """A metric by a further protocol."""

    def read(found: dict[str, Any]) -> Cell:
        value = found.get(protocol, {}).get(metric)
        return ("",) if value is None else (percentage(value),)

    return read


def _lead(metric: str) -> Callable[[dict[str, Any]], Cell]:
    """The paired difference from the baseline, its interval and its p-value."""

    def read(row: dict[str, Any]) -> Cell:
        found = row.get("difference", {}).get(metric)
        if found is None:
            return ("",)
        interval = span(found["low"], found["high"], points)
        return points(found["difference"]), interval, p_value(found["p_value"])

    return read


def _gap(metric: str) -> Callable[[dict[str, Any]], Cell]:
    """The gap recovered, a dash where there was none."""

    def read(row: dict[str, Any]) -> Cell:
        gaps = row.get("gap_recovered", {})
        if metric not in gaps:
            return ("",)
        return ("\N{EN DASH}" if gaps[metric] is None else percent(gaps[metric], 0),)

    return read


def _cost(key: str, form: Callable[[float], str]) -> Callable[[dict[str, Any]], Cell]:
    """What a network costs."""

    def read(row: dict[str, Any]) -> Cell:
        return (form(row[key]),) if key in row else ("",)

    return read


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
    return f"{queries:,} images are queries, and search the other {images - queries:,}."
