"""The classes on which a network does worst, and what it takes them for."""

import numpy as np

from darkrank_jax.evaluation.report.compared_networks import ComparedNetworks
from darkrank_jax.evaluation.report.markup import Html, join, tag
from darkrank_jax.evaluation.report.measured import Measured, neighbors_of
from darkrank_jax.evaluation.report.table import cell, percentage, table
from darkrank_jax.evaluation.report.thumbnails import picture

_SHOWN = 15
_SIDE = 40


def classes_section(measured: Measured, compared: ComparedNetworks) -> Html:
    """Lists the classes with the lowest MAP@R.

    Args:
      measured: the images and what the networks made of them.
      compared: whose classes are listed, and what they are compared with.

    Returns:
      A table, or nothing where the subject has no embeddings or no class has two images.
    """
    if compared.subject not in measured.embeddings:
        return Html("")
    worst = _worst(measured, compared.subject)
    if not worst:
        return Html("")
    names = compared.among(measured.embeddings)
    shown = [compared.subject, *(name for name in names if name != compared.subject)]
    heads = ["Class", "Images", "Recall@1", *(["MAP@R"] * len(shown))]
    owners = ["", "", compared.subject, compared.subject, *shown[1:]]
    head = [
        tag("th", title, *([tag("small", tag("bdi", owner))] if owner else []), scope="col")
        for title, owner in zip(heads, owners, strict=True)
    ]
    head.append(tag("th", "Most often taken for", scope="col", class_="words"))
    rows = [_row(measured, label, shown) for label in worst]
    caption = f"The {len(worst)} classes with the lowest MAP@R, in %"
    note = (
        f"By MAP@R of {compared.subject}. An image is taken for the class of its nearest other "
        "image; the count is of the images that are taken for that class."
    )
    return join(
        [table("Worst classes", caption, head, tag("tbody", *rows)), tag("p", note, class_="note")]
    )


def _worst(measured: Measured, name: str) -> list[int]:
    """Labels of the classes whose images can be found, worst first."""
    found = class_means(measured, name, "map_at_r")
    order = sorted(found, key=lambda label: (found[label], label))
    return order[:_SHOWN]


def class_means(measured: Measured, name: str, metric: str) -> dict[int, float]:
    """The mean of a metric over the images of each class that find another of it."""
    matched = measured.matched()
    labels = measured.labels[matched]
    counts = np.bincount(labels)
    sums = np.bincount(labels, measured.values[name][metric][matched])
    return {int(label): float(sums[label] / counts[label]) for label in np.flatnonzero(counts)}


def _row(measured: Measured, label: int, shown: list[str]) -> Html:
    """One class: its first image, its size, how each network does, and what it is taken for."""
    members = np.flatnonzero(measured.matched() & (measured.labels == label))
    numbers = [percentage(_mean(measured, shown[0], "recall_at_1", members))]
    numbers += [percentage(_mean(measured, name, "map_at_r", members)) for name in shown]
    name = tag("th", _shown(measured, int(members[0])), scope="row", class_="class-name")
    cells = [cell(text) for text in (f"{len(members):,}", *numbers)]
    return tag("tr", name, *cells, _mistaken(measured, shown[0], members))


def _mean(measured: Measured, name: str, metric: str, members: np.ndarray) -> float:
    """The mean of a metric over some images."""
    return float(measured.values[name][metric][members].mean())


def _mistaken(measured: Measured, name: str, members: np.ndarray) -> Html:
    """The other class that most of the images are taken for."""
    nearest = neighbors_of(measured, name, members, 1)[:, 0]
    wrong = nearest[measured.labels[nearest] != measured.labels[members[0]]]
    if not len(wrong):
        return tag("td", "\N{EN DASH}", class_="words")
    _, first, counts = np.unique(measured.labels[wrong], return_index=True, return_counts=True)
    most = int(counts.argmax())
    times = f"{counts[most]} of {len(members)}"
    return tag("td", _shown(measured, int(wrong[first[most]])), tag("small", times), class_="words")


def _shown(measured: Measured, index: int) -> Html:
    """The class of an image, with that image where there are images."""
    name = measured.class_name(index)
    text = tag("bdi", name)
    if measured.images is None:
        return text
    return tag("span", picture(measured.images[index], "", side=_SIDE), text, class_="with-picture")
