"""The section with all numbers: networks as columns, so that three fit on a phone."""

from collections.abc import Callable
from math import sqrt
from typing import Any

from darkrank_jax.evaluation.report.markup import Html, join, tag
from darkrank_jax.evaluation.report.words import count, duration, metric_name, percent, subject

_COSTS: dict[str, tuple[str, Callable[[float], str]]] = {
    "parameters": ("Parameters", count),
    "images_per_second": ("Images/s", count),
    "steps": ("Steps", count),
    "training_seconds": ("Training time", duration),
}


def results_section(results: dict[str, Any]) -> Html:
    """Lays out quality, gap recovered and cost of every network.

    Args:
      results: what `results.json` holds.

    Returns:
      A section with one table and a note on how far chance moves its numbers.
    """
    networks = results["networks"]
    head = [tag("th", tag("bdi", name), scope="col") for name in networks]
    table = tag(
        "table",
        tag("caption", "Quality, gap recovered and cost of each network"),
        tag("thead", tag("tr", tag("td"), *head)),
        *_bodies(networks),
    )
    scroll = tag("div", table, class_="scroll", tabindex=0, role="region", aria_label="Results")
    return tag("section", tag("h2", "Results"), scroll, _note(results))


def _bodies(networks: dict[str, Any]) -> list[Html]:
    """The three groups of rows; a group without any number is left out."""
    metrics = {n: network["metrics"] for n, network in networks.items()}
    gaps = {n: network.get("gap_recovered", {}) for n, network in networks.items()}
    quality = [_row(metric_name(k), k, metrics, lambda v: f"{100 * v:.1f}") for k in _keys(metrics)]
    gap = [_row(metric_name(k), k, gaps, lambda v: percent(v, 0)) for k in _keys(gaps)]
    cost = [_row(title, k, networks, form) for k, (title, form) in _COSTS.items()]
    groups = {"Quality, in %": quality, "Gap recovered": gap, "Cost": cost}
    return [_group(title, rows, len(networks) + 1) for title, rows in groups.items() if rows]


def _keys(dictionaries: dict[str, dict[str, Any]]) -> list[str]:
    """All keys, in the order in which they first appear."""
    return list(dict.fromkeys(key for values in dictionaries.values() for key in values))


def _group(title: str, rows: list[Html], columns: int) -> Html:
    """Rows under a title of their own."""
    heading = tag("th", title, scope="rowgroup", colspan=columns)
    return tag("tbody", tag("tr", heading, class_="group"), *rows)


def _row(title: str, key: str, columns: dict[str, Any], form: Callable[[float], str]) -> Html:
    """One quantity of every network: empty where it does not apply, a dash where it is null."""
    cells = []
    for column in columns.values():
        value = column.get(key, "")
        text = "\N{EN DASH}" if value is None else form(value) if value != "" else ""
        cells.append(tag("td", text))
    return tag("tr", tag("th", title, scope="row"), *cells)


def _note(results: dict[str, Any]) -> Html:
    """What the numbers mean and how far chance moves them."""
    networks, images = results["networks"], results["dataset"]["images"]
    recall = networks[subject(networks)]["metrics"]["recall_at_1"]
    error = 100 * sqrt(recall * (1 - recall) / images)
    sentences = [
        f"Every image queries the others. With {images:,} queries the standard error of Recall@1 "
        f"is about {error:.1f} points (binomial), and training adds the spread between seeds; "
        f"this is one run, with seed {results['seed']}."
    ]
    if any("gap_recovered" in network for network in networks.values()):
        sentences.append(
            " Gap recovered is (student \N{MINUS SIGN} baseline) / (teacher \N{MINUS SIGN} "
            "baseline), and a dash where the teacher is not better than the baseline."
        )
    return tag("p", join(sentences), class_="note")
