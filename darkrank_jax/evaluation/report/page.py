"""The page as a whole: its sections in order, put into the template and written in one piece."""

import os
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from darkrank_jax.evaluation.report.agreement_charts import agreement_section
from darkrank_jax.evaluation.report.classes import classes_section
from darkrank_jax.evaluation.report.compared_networks import ComparedNetworks, compared_networks
from darkrank_jax.evaluation.report.curves import curves_section
from darkrank_jax.evaluation.report.distance_histograms import distances_section
from darkrank_jax.evaluation.report.embedding_map import map_section
from darkrank_jax.evaluation.report.headline import headline
from darkrank_jax.evaluation.report.markup import Html, join, policy, tag
from darkrank_jax.evaluation.report.measured import Measured, view
from darkrank_jax.evaluation.report.query_examples import neighbors_section
from darkrank_jax.evaluation.report.recall import recall_section
from darkrank_jax.evaluation.report.table import results_section
from darkrank_jax.evaluation.report.tradeoff import tradeoff_section
from darkrank_jax.files import write_text

_PACKAGE = "darkrank_jax.evaluation.report"
# What to do after a page: a purpose, and its command or flag. CONFIG, DIR and WORKDIR are the
# reader's own.
_OVER_SEEDS = 'darkrank --mode sweep --config CONFIG --workdir DIR --seeds "0 1 2"'
_AFTER_A_RUN = {
    "Repeat over seeds": _OVER_SEEDS,
    "Compare with another run": "darkrank --mode compare WORKDIR WORKDIR",
    "Embed and search": "darkrank --mode embed --workdir WORKDIR --images DIR --output X.npz",
    "Deploy the student": "darkrank --mode export --workdir WORKDIR",
}
AFTER_A_COMPARISON = {
    "Repeat over seeds": _OVER_SEEDS,
    "Deploy the best student": "darkrank --mode export --workdir WORKDIR",
}
AFTER_A_SEARCH = {
    "Show more images": "--nearest 20",
    "Leave out the query itself": "--exclude_self",
    "Print tables instead of a page": "leave out --output",
}
# Of the pictures on a page; several datasets share them, which bounds its size.
_QUERIES, _POINTS = 12, 480

Curves = Mapping[str, Sequence[Mapping[str, Any]]]


class Section(NamedTuple):
    """A part of the page with a heading; one without a body is left out."""

    title: str
    body: Html


def write_report(
    path: str | os.PathLike[str],
    results: dict[str, Any],
    *,
    measured: Mapping[str, Measured],
    curves: Curves,
) -> None:
    """Writes one self-contained page: no network, every text from data escaped.

    The file appears whole or not at all, and the same input gives the same bytes.

    Args:
      path: of the file, in a folder that exists.
      results: what `results.json` holds; "teacher" and "baseline" may be absent.
      measured: dataset -> its images and embeddings; first that of `results["dataset"]`, then
        those of `results["further_datasets"]`, by their names there.
      curves: network -> rows of its `metrics.jsonl`; networks may be absent.

    Raises:
      UserError: the file cannot be written.

    Example:
      >>> import tempfile
      >>> import numpy as np
      >>> network = {"model": {"name": "resnet18"}, "losses": {"triplet": {"weight": 1.0}},
      ...            "parameters": 8, "images_per_second": 1.0, "steps": 5,
      ...            "training_seconds": 2.0, "metrics": {"recall_at_1": 0.5}}
      >>> results = {"name": "demo", "seed": 0, "devices": "1 x cpu",
      ...            "dataset": {"source": "glyphs", "split": "test", "images": 4, "queries": 4,
      ...                        "classes": 2},
      ...            "networks": {"student": network}}
      >>> values = {"recall_at_1": np.array([1.0, 0, 0, 1]), "map_at_r": np.array([1.0, 0, 0, 1])}
      >>> images = Measured(np.array([0, 0, 1, 1]), ("a", "b"), {"student": np.eye(4)},
      ...                   {"student": values}, np.zeros((4, 8, 8, 1), np.uint8))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_report(f"{folder}/report.html", results, measured={"test": images}, curves={})
      ...     Path(folder, "report.html").read_text(encoding="utf-8")[:15]
      '<!doctype html>'
    """
    sections = []
    for index, (name, images) in enumerate(measured.items()):
        shown = view(results, name if index else None)
        compared = compared_networks(shown["networks"])
        found = [
            Section("Results", results_section(shown)),
            Section("Speed against quality", tradeoff_section(shown["networks"])),
            Section("Recall by number of images", recall_section(shown["networks"])),
            Section("Rank agreement", agreement_section(shown, compared)),
            *picture_sections(images, compared, shown["seed"], len(measured)),
        ]
        sections += of_dataset(found, name, len(measured))
    sections.append(Section("Learning curves", curves_section(curves)))
    sections.append(Section("Settings", settings(results["networks"])))
    sections.append(Section("What next", next_steps(_AFTER_A_RUN)))
    write_page(path, results["name"], _header(results), sections)


def picture_sections(
    measured: Measured, compared: ComparedNetworks, seed: int, sharing: int
) -> list[Section]:
    """The sections that look at single images.

    Args:
      measured: the images and their embeddings.
      compared: the networks that are compared.
      seed: of what is drawn at random.
      sharing: how many datasets the page has.

    Returns:
      Sections; those that need what is not there have no body.
    """
    names = compared.among(measured.embeddings)
    mapped = [
        name for name in names if name in (compared.teacher or compared.reference, compared.subject)
    ]
    queries, points = max(3, _QUERIES // sharing), max(120, _POINTS // sharing)
    lists = "Nearest images" if measured.queries is None else "Ranked lists"
    return [
        Section(lists, neighbors_section(measured, compared, queries)),
        Section("Map of embeddings", map_section(measured, mapped, seed, points)),
        Section("Distances", distances_section(measured, names, seed)),
        Section("Worst classes", classes_section(measured, compared)),
    ]


def of_dataset(sections: list[Section], name: str, sharing: int) -> list[Section]:
    """Names the dataset in the headings of a page that has several."""
    if sharing == 1:
        return sections
    return [Section(f"{section.title} on {name}", section.body) for section in sections]


def settings(networks: dict[str, Any]) -> Html:
    """Model and losses of every network, as they stand in the config."""
    entries = [
        part
        for name, network in networks.items()
        if "model" in network
        for part in (tag("dt", tag("bdi", name)), *_settings(network))
    ]
    return tag("dl", *entries) if entries else Html("")


def next_steps(steps: Mapping[str, str]) -> Html:
    """What a reader may want to do after this page, each with its command."""
    return tag(
        "dl",
        *(tag(*pair) for step in steps.items() for pair in zip(("dt", "dd"), step, strict=True)),
    )


def write_page(
    path: str | os.PathLike[str], name: str, header: Html, sections: list[Section]
) -> None:
    """Puts header and sections into the template and writes the page.

    Args:
      path: of the file.
      name: of the run.
      header: the page's heading.
      sections: in their order; the empty ones are left out.

    Raises:
      UserError: the file cannot be written.
    """
    shown = [section for section in sections if section.body]
    places = _places([section.title for section in shown])
    links = [
        tag("li", tag("a", section.title, href=f"#{place}"))
        for section, place in zip(shown, places, strict=True)
    ]
    contents = tag("nav", tag("ul", *links), aria_label="Sections")
    parts = [
        tag("section", tag("h2", section.title, id=place), section.body, aria_labelledby=place)
        for section, place in zip(shown, places, strict=True)
    ]
    # Maps alone need it; a page without a script allows none.
    script = _resource("map.js") if any('class="map"' in part for part in parts) else ""
    page = Template(_resource("template.html")).substitute(
        title=join([name, " \N{MIDDLE DOT} darkrank_jax"]),
        policy=policy(script),
        script=tag("script", Html(script)) if script else "",
        main=join([header, contents, *parts]),
    )
    write_text(Path(path), page)


def facts_of(dataset: dict[str, Any]) -> list[str]:
    """What was measured on, in a few words each."""
    split = f", {dataset['split']} split" if dataset["split"] else ""
    return [
        f"{dataset['source']}{split}",
        f"{dataset['images']:,} images of {dataset['classes']:,} classes",
    ]


def header_of(name: str, sentence: str, facts: list[str]) -> Html:
    """The name of the page, what was found, and on what."""
    return tag(
        "header",
        tag("h1", tag("bdi", name)),
        tag("p", sentence, class_="headline"),
        tag("p", " \N{MIDDLE DOT} ".join(facts), class_="note"),
    )


def _header(results: dict[str, Any]) -> Html:
    """The heading of a run's page."""
    facts = [*facts_of(results["dataset"]), f"seed {results['seed']}", results["devices"]]
    return header_of(results["name"], headline(results), facts)


def _places(titles: list[str]) -> list[str]:
    """What a link to each section says: its title in plain letters, numbered where it must be."""
    plain = [re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") for title in titles]
    return [
        place if plain.count(place) == 1 else f"{place}-{index}"
        for index, place in enumerate(plain)
    ]


def _resource(name: str) -> str:
    """A file of this package."""
    return (resources.files(_PACKAGE) / name).read_text(encoding="utf-8")


def _settings(network: dict[str, Any]) -> list[Html]:
    """The model on one line, then one line for each loss."""
    losses = [_with_arguments(name, arguments) for name, arguments in network["losses"].items()]
    model = {key: value for key, value in network["model"].items() if key != "name"}
    return [tag("dd", line) for line in (_with_arguments(network["model"]["name"], model), *losses)]


def _with_arguments(name: str, arguments: dict[str, Any]) -> str:
    """A name and its arguments, as a call would be written."""
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
