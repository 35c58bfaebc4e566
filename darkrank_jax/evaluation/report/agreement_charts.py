"""Rank agreement with the teacher, which is what DarkRank trains for, by length of list."""

from typing import Any

from darkrank_jax.evaluation.report.chart import (
    X_PLACES,
    Y_PLACES,
    line_chart,
    linear_axis,
    log_axis,
    styles,
)
from darkrank_jax.evaluation.report.compared_networks import ComparedNetworks
from darkrank_jax.evaluation.report.formatting import percent
from darkrank_jax.evaluation.report.markup import Html, join, tag

# Field of results.json -> its title and the factor to write it with.
_MEASURES = {
    "overlap_at_": ("Overlap of the first K with the teacher’s, in %", 100),
    "kendall_tau_at_": ("Kendall’s tau within the teacher’s first K", 1),
}


def agreement_section(results: dict[str, Any], compared: ComparedNetworks) -> Html:
    """Draws how far each network ranks as the teacher does.

    Args:
      results: what `results.json` holds, of one dataset.
      compared: what the networks are to each other.

    Returns:
      Charts of overlap and Kendall's tau, and a sentence on searching the teacher's gallery; or
      nothing where no network was compared with a teacher.
    """
    networks = {n: row for n, row in results["networks"].items() if row.get("agreement")}
    if not networks:
        return Html("")
    style = styles(results["networks"])
    charts = [_figure(prefix, networks, style) for prefix in _MEASURES]
    others = results["dataset"]["images"] - 1
    sentences = [
        "Of the images that the teacher finds first, overlap is the share that the network finds "
        f"first as well; by chance it would be K of {others:,}. Kendall’s tau is 1 where the "
        "network orders them as the teacher does, 0 by chance."
    ]
    for name in networks:
        recall = networks[name].get("teacher_gallery", {}).get("recall_at_1")
        if recall is not None and name == compared.subject:
            sentences.append(
                f" Searching the teacher’s gallery, so that images embedded by the teacher need "
                f"not be embedded again, {name} reaches a Recall@1 of {percent(recall)}."
            )
    note = tag("p", join(sentences), class_="note")
    return join([tag("div", *charts, class_="charts"), note])


def _figure(prefix: str, networks: dict[str, Any], style: dict[str, str]) -> Html:
    """One measure by K."""
    title, scale = _MEASURES[prefix]
    series = {
        name: [
            (int(field.removeprefix(prefix)), scale * value)
            for field, value in row["agreement"].items()
            if field.startswith(prefix)
        ]
        for name, row in networks.items()
    }
    series = {name: points for name, points in series.items() if points}
    if not series:
        return Html("")
    places = [point for points in series.values() for point in points]
    x = log_axis(min(k for k, _ in places), max(k for k, _ in places), X_PLACES)
    values = [value for _, value in places]
    y = linear_axis(min(0, *values), max(values), Y_PLACES)
    dots = [
        tag(
            "circle",
            cx=x.place(k),
            cy=y.place(v),
            r=3,
            class_=style[name].replace("series", "fill"),
        )
        for name, points in series.items()
        for k, v in points
    ]
    words = " ".join(
        f"{name}: {', '.join(f'{value:.3g} at {k}' for k, value in points)}."
        for name, points in series.items()
    )
    label = f"{title}, by K. {words}"
    return line_chart(title, (x, y), "K", series, style, label=label, marks=dots)
