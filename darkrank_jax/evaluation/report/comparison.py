"""One page on several runs: networks as rows, what holds over seeds, and where they differ."""

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from darkrank_jax.evaluation.intervals import over_seeds
from darkrank_jax.evaluation.report.agreement_charts import agreement_section
from darkrank_jax.evaluation.report.compared_networks import (
    ComparedNetworks,
    compared_networks,
    students,
)
from darkrank_jax.evaluation.report.curves import curves_section
from darkrank_jax.evaluation.report.forest import forest_figures
from darkrank_jax.evaluation.report.formatting import (
    count,
    duration,
    metric_name,
    percent,
    points,
    span,
)
from darkrank_jax.evaluation.report.headline import where_measured
from darkrank_jax.evaluation.report.markup import Html, join, named, tag
from darkrank_jax.evaluation.report.measured import Measured
from darkrank_jax.evaluation.report.page import (
    AFTER_A_COMPARISON,
    Curves,
    Section,
    facts_of,
    header_of,
    next_steps,
    of_dataset,
    picture_sections,
    settings,
    write_page,
)
from darkrank_jax.evaluation.report.recall import recall_section
from darkrank_jax.evaluation.report.table import (
    cell,
    column_heads,
    lead_cell,
    percentage,
    protocol_tables,
    quality_cell,
    table,
)
from darkrank_jax.evaluation.report.tradeoff import tradeoff_section
from darkrank_jax.terminal import aligned

_METRICS = ("recall_at_1", "map_at_r", "mean_average_precision", "nmi")
_SEED_METRICS = ("recall_at_1", "map_at_r")
_COSTS = {
    "parameters": ("Parameters", count),
    "images_per_second": ("Images/s", count),
    "training_seconds": ("Training", duration),
}
# Rows that agree in these, to the last digit, are of one network.
_SAME = ("model", "losses", "steps", "best_step", "metrics")
# Why a network is not compared query by query; its row has one as "unpaired".
NOT_STORED = "embeddings not stored"
NOT_KNOWN = "images not known to be the same"
_REASONS = {
    NOT_STORED: "Networks whose embeddings are not stored have no lead and no pictures; evaluate "
    "their runs with --mode eval --config.evaluation.save_embeddings=true.",
    NOT_KNOWN: "Networks of which it is not known that they embedded the same images have no lead "
    "and no pictures, since their embeddings are stored without a digest; store them again with "
    "--mode eval --config.evaluation.save_embeddings=true.",
}
# Comparisons within one run, which say nothing against another.
_OF_ONE_RUN = ("difference", "gap_recovered")


def combine(runs: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Puts the networks of several runs side by side, each network once.

    Args:
      runs: name -> what its results.json holds, of one dataset.

    Returns:
      "dataset"; "networks" by "run/network", each with its "run", "part" and "seed"; "reference",
      the first run's subject, and "subjects", those of all runs; "unknown", the runs of which
      nobody knows what images they were measured on; "seed", of what is drawn at random, and
      "devices".
    """
    networks: dict[str, dict[str, Any]] = {}
    first_with: dict[str, str] = {}
    subjects = []
    for run, results in runs.items():
        subject = compared_networks(results["networks"]).subject
        for part, row in results["networks"].items():
            same = json.dumps([part, *(row.get(field) for field in _SAME)], sort_keys=True)
            name = first_with.setdefault(same, f"{run}/{part}")
            if name == f"{run}/{part}":
                kept = {key: value for key, value in row.items() if key not in _OF_ONE_RUN}
                networks[name] = kept | {"run": run, "part": part, "seed": results["seed"]}
            if part == subject and name not in subjects:
                subjects.append(name)
    first = next(iter(runs.values()))
    return {
        "dataset": first["dataset"],
        "networks": networks,
        "reference": subjects[0],
        "subjects": subjects,
        "unknown": [name for name, each in runs.items() if not each["dataset"].get("digest")],
        "seed": 0,
        "devices": ", ".join(dict.fromkeys(results["devices"] for results in runs.values())),
    }


def write_comparison(
    path: str | os.PathLike[str],
    name: str,
    combined: Mapping[str, dict[str, Any]],
    *,
    measured: Mapping[str, Measured],
    curves: Curves,
) -> None:
    """Writes one self-contained page on several runs.

    Args:
      path: of the file, in a folder that exists.
      name: of the page.
      combined: dataset -> what `combine` gives.
      measured: dataset -> images and embeddings by "run/network"; datasets and networks of which
        no embeddings were stored are absent.
      curves: network -> rows of its `metrics.jsonl`.

    Raises:
      UserError: the file cannot be written.
    """
    sections = []
    for dataset, results in combined.items():
        # The main networks first in all charts, so that each looks the same in all of them.
        networks = _ordered(results)
        found = [
            Section("Results", _results(results, networks)),
            Section("Over seeds", seeds_section(results["networks"])),
            Section("Speed against quality", tradeoff_section(networks)),
            Section("Recall by number of images", recall_section(networks)),
            Section(
                "Rank agreement",
                agreement_section(results | {"networks": networks}, _compared(results, networks)),
            ),
        ]
        if dataset in measured:
            compared = _compared(results, measured[dataset].embeddings)
            found += picture_sections(measured[dataset], compared, results["seed"], len(combined))
        sections += of_dataset(found, dataset, len(combined))
    first = next(iter(combined.values()))
    ordered = {name: curves[name] for name in _ordered(first) if name in curves}
    sections.append(Section("Learning curves", curves_section(ordered)))
    sections.append(Section("Settings", settings(first["networks"])))
    sections.append(Section("What next", next_steps(AFTER_A_COMPARISON)))
    facts = [*facts_of(first["dataset"]), first["devices"]]
    write_page(path, name, header_of(name, comparison_headline(first), facts), sections)


def comparison_headline(combined: dict[str, Any]) -> str:
    r"""Says which run's student is best and by how much, against the first run's.

    Args:
      combined: what `combine` gives, with `difference` where it is known.

    Returns:
      One sentence, and one more where a network that was trained alone is better still.
    """
    networks, reference = combined["networks"], combined["reference"]
    where = where_measured(combined["dataset"])
    recall = {name: networks[name]["metrics"]["recall_at_1"] for name in combined["subjects"]}
    best = max(recall, key=lambda name: recall[name])
    reached = f"a Recall@1 of {percent(recall[best])} {where}"
    # The part of a network that has no teacher is "network".
    parts = {networks[name]["part"] for name in recall} - {"network"}
    noun = "student" if students(parts) else "network"
    if len(recall) == 1:
        found = f"All runs are of the same {noun}, {best}, with {reached}."
    elif best == reference:
        second = max((name for name in recall if name != best), key=lambda name: recall[name])
        found = (
            f"No other {noun} is better than {best}, with {reached}; {second} has "
            f"{percent(recall[second])}."
        )
    else:
        lead = points(recall[best] - recall[reference])
        paired = networks[best].get("difference", {}).get("recall_at_1")
        sure = f" ({span(paired['low'], paired['high'], points)})" if paired else ""
        found = (
            f"Of {len(recall)} runs’ {noun}s, {best} is best, with {reached}: {lead} points{sure} "
            f"against {reference}."
        )
    return found + _better_baseline(networks, recall[best])


def unknown_images(combined: dict[str, Any]) -> str:
    """A sentence on runs that do not say what images they were measured on; empty without any."""
    if not combined["unknown"]:
        return ""
    return (
        f"Not known is on which images {', '.join(combined['unknown'])} was measured, since "
        "results.json has no digest of them, so that figures may be of different images; write it "
        "again with --mode eval."
    )


def comparison_table(networks: dict[str, Any]) -> str:
    """The networks of all runs as a table for a terminal."""
    lines = [["", *(metric_name(metric) for metric in _METRICS), "parameters", "images/s"]]
    for name, row in networks.items():
        quality = [f"{row['metrics'][metric]:.3f}" for metric in _METRICS]
        cost = [f"{row[key]:,.0f}" if key in row else "" for key in list(_COSTS)[:2]]
        lines.append([name, *quality, *cost])
    return aligned(lines, numbers=True)


def seeds_section(networks: dict[str, Any]) -> Html:
    """Lists what networks of one config reach over the seeds they were trained with.

    Args:
      networks: of `combine`.

    Returns:
      A table, or nothing where no config was trained with two seeds.
    """
    groups: dict[str, list[str]] = {}
    for name, row in networks.items():
        config = {key: row.get(key) for key in ("part", "model", "losses", "steps")}
        groups.setdefault(json.dumps(config, sort_keys=True), []).append(name)
    repeated = [
        names for names in groups.values() if len({networks[name]["seed"] for name in names}) > 1
    ]
    if not repeated:
        return Html("")
    heads = ["Network", "Seeds", *(f"{metric_name(metric)}, in %" for metric in _SEED_METRICS)]
    heads.append("Lead over its baseline")
    rows = tag("tbody", *(_seed_row(networks, names) for names in repeated))
    caption = "Mean ± standard deviation, and the 95\xa0% interval of the mean"
    note = (
        "Networks with the same model, losses and steps are one config. The interval is that of "
        "Student’s t over seeds; the lead, in points of Recall@1, compares each seed with the "
        "baseline of the same run."
    )
    return join(
        [table("Over seeds", caption, column_heads(heads), rows), tag("p", note, class_="note")]
    )


def _better_baseline(networks: dict[str, Any], recall: float) -> str:
    """A sentence on the best baseline, where it is better than all that learned from a teacher."""
    alone = {
        name: row["metrics"]["recall_at_1"]
        for name, row in networks.items()
        if row["part"] == "baseline" and row["metrics"]["recall_at_1"] > recall
    }
    if not alone:
        return ""
    best = max(alone, key=lambda name: alone[name])
    return f" Better still is {best}, trained alone, with {percent(alone[best])}."


def _ordered(combined: dict[str, Any]) -> dict[str, Any]:
    """All networks; those that the page is about and their teachers come before the baselines."""
    networks = combined["networks"]
    main = [n for n in networks if n in combined["subjects"] or networks[n]["part"] == "teacher"]
    return {name: networks[name] for name in dict.fromkeys((*main, *networks))}


def _results(combined: dict[str, Any], ordered: dict[str, Any]) -> Html:
    """One row a network: quality with intervals, lead over the reference, cost."""
    networks, reference = combined["networks"], combined["reference"]
    heads = ["Network", *(metric_name(metric) for metric in _METRICS)]
    led = any("difference" in row for row in networks.values())
    heads += ["Lead in Recall@1"] if led else []
    heads += [title for title, _ in _COSTS.values()]
    rows = tag("tbody", *(_row(name, row, led) for name, row in networks.items()))
    caption = "Quality, in %, and cost of every network"
    found = table("Results", caption, column_heads(heads), rows)
    sentences = [
        "Small print is the 95\xa0% bootstrap interval over queries. A network that several runs "
        "share is listed once, by the first of them."
    ]
    if led:
        sentences.append(
            f"The lead, in points over {reference}, is compared query by query; p is that of a "
            "randomisation test."
        )
    reasons = dict.fromkeys(row["unpaired"] for row in networks.values() if "unpaired" in row)
    sentences += [_REASONS[reason] for reason in reasons]
    sentences.append(unknown_images(combined))
    note = tag("p", " ".join(filter(None, sentences)), class_="note")
    return join([forest_figures(ordered), found, *protocol_tables(networks), note])


def _row(name: str, row: dict[str, Any], led: bool) -> Html:
    """One network."""
    cells = [quality_cell(row, metric) for metric in _METRICS]
    if led:
        cells.append(lead_cell(row, "recall_at_1", row.get("unpaired", "reference")))
    cells += [cell(form(row[key]) if key in row else "") for key, (_, form) in _COSTS.items()]
    return tag("tr", tag("th", named(name), scope="row"), *cells)


def _seed_row(networks: dict[str, Any], names: list[str]) -> Html:
    """One config over its seeds."""
    seeds = ", ".join(str(networks[name]["seed"]) for name in names)
    cells = [tag("td", f"{len(names)}", tag("small", seeds))]
    for metric in _SEED_METRICS:
        found = over_seeds(np.array([networks[name]["metrics"][metric] for name in names]))
        text = f"{percentage(found['mean'])} ± {percentage(found['std'])}"
        cells.append(cell(text, span(max(found["low"], 0), min(found["high"], 1), percentage)))
    leads = _leads(networks, names)
    if len(leads) > 1:
        found = over_seeds(np.array(leads))
        text = f"{points(found['mean'])} ± {percentage(found['std'])}"
        cells.append(cell(text, span(found["low"], found["high"], points)))
    else:
        cells.append(cell(""))
    title = networks[names[0]]["part"]
    runs = ", ".join(networks[name]["run"] for name in names)
    return tag("tr", tag("th", tag("bdi", title), tag("small", runs), scope="row"), *cells)


def _leads(networks: dict[str, Any], names: list[str]) -> list[float]:
    """How far each network is ahead of its own run's baseline in Recall@1."""
    leads = []
    for name in names:
        baseline = networks.get(f"{networks[name]['run']}/baseline")
        if baseline is not None and networks[name]["part"] not in ("teacher", "baseline"):
            leads.append(
                networks[name]["metrics"]["recall_at_1"] - baseline["metrics"]["recall_at_1"]
            )
    return leads


def _compared(combined: dict[str, Any], known: Iterable[str]) -> ComparedNetworks:
    """The reference, the best of the other subjects, and the teacher where all share one."""
    networks, reference, known = combined["networks"], combined["reference"], set(known)
    teachers = [name for name, row in networks.items() if row["part"] == "teacher"]
    teacher = teachers[0] if len(teachers) == 1 and teachers[0] in known else None
    others = [name for name in combined["subjects"] if name in known and name != reference]
    if not others:
        return ComparedNetworks(reference, teacher if teacher != reference else None)
    subject = max(others, key=lambda name: networks[name]["metrics"]["recall_at_1"])
    return ComparedNetworks(subject, teacher, reference if reference in known else None)
