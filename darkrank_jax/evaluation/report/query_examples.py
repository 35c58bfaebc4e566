"""The section of pictures: what networks find for the queries that tell most about them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

from darkrank_jax.evaluation.report.compared_networks import ComparedNetworks
from darkrank_jax.evaluation.report.markup import Html, join, named, tag
from darkrank_jax.evaluation.report.measured import (
    Measured,
    Verdicts,
    ranked_lists,
    verdicts_of,
)
from darkrank_jax.evaluation.report.thumbnails import picture

_QUERIES = 12
# Of a list: where every image searches all others, and of a gallery.
_NEIGHBORS, _RANKED = 5, 10
# By the number of rivals: which queries of a group are shown.
_RULES = (
    "Of the {} queries, the wrong ones with the lowest {metric} are shown, and the right ones with "
    "the highest",
    "Of each group of the {} queries, those are shown on which the two networks differ most in "
    "{metric}",
    "Of each group of the {} queries, those are shown on which the {metric} of {subject} and of "
    "the network with the other verdict differ most",
)
_BY_CAMERA = (
    "Images of a query's class by its own camera are left out, as the figures across cameras have "
    "it. "
)


class Group(NamedTuple):
    """Queries that tell two networks apart in one way.

    Attributes:
      title: the way in words.
      size: how many queries there are.
      shown: those of them that are shown.
    """

    title: str
    size: int
    shown: Integer[np.ndarray, " shown"]


def neighbors_section(
    measured: Measured, compared: ComparedNetworks, queries: int = _QUERIES
) -> Html:
    """Shows what each network finds for queries that are chosen by a rule, which is stated.

    Args:
      measured: the images and what the networks made of them.
      compared: the networks that are compared.
      queries: how many are shown.

    Returns:
      Tables of pictures, or nothing where the subject has no embeddings.
    """
    if compared.subject not in measured.embeddings:
        return Html("")
    names = compared.among(measured.embeddings)
    known = ComparedNetworks(
        compared.subject, *(each if each in names else None for each in compared[1:])
    )
    verdicts = verdicts_of(measured)
    groups = choose(measured, verdicts, known, queries)
    if not any(group.size for group in groups):
        # All networks have the same queries right: those that the subject has wrong, and right.
        known = ComparedNetworks(compared.subject)
        groups = choose(measured, verdicts, known, queries)
    most = int(verdicts.matched.sum())
    chosen = _RULES[len(known.rivals())].format(
        f"{most:,}", subject=known.subject, metric=verdicts.metric
    )
    rule = (
        "A query is right when its nearest image shows the same class. "
        f"{'' if measured.cameras is None else _BY_CAMERA}"
        f"{chosen}; a second one of a class only when there is no other class."
    )
    key = tag("p", _mark(True), " same class as the query ", _mark(False), " another class")
    parts = [_group(group, most, measured, names) for group in groups]
    return join([tag("p", rule), key, *parts])


def choose(
    measured: Measured, verdicts: Verdicts, compared: ComparedNetworks, total: int
) -> list[Group]:
    """Sorts the queries into groups by who is right, and shares the places out among them.

    Args:
      measured: the images and what the networks made of them.
      verdicts: of the same images.
      compared: the networks that are compared.
      total: how many queries are shown.

    Returns:
      Groups that share no query; in each, the queries that differ most come first.
    """
    candidates = np.flatnonzero(verdicts.matched)
    groups = {
        title: _most_different(candidates[inside[candidates]], gaps, measured.labels)
        for title, (inside, gaps) in _outcomes(verdicts, compared).items()
    }
    shares = _shares([len(members) for members in groups.values()], total)
    return [
        Group(title, len(members), members[:share])
        for (title, members), share in zip(groups.items(), shares, strict=True)
    ]


def _outcomes(
    verdicts: Verdicts, compared: ComparedNetworks
) -> dict[str, tuple[Bool[np.ndarray, " images"], np.ndarray]]:
    """The ways in which networks differ: a title, which queries, and by how much each."""
    scores, right = verdicts.scores, verdicts.right
    subject, rivals = compared.subject, compared.rivals()
    if not rivals:
        own = scores[subject]
        return {
            f"{subject} wrong": (~right[subject], 1 - own),
            f"{subject} right": (right[subject], own),
        }
    rival = rivals[0]
    gaps = scores[subject] - scores[rival]
    outcomes = {
        f"{rival} right, {subject} wrong": (right[rival] & ~right[subject], -gaps),
        f"{subject} right, {rival} wrong": (right[subject] & ~right[rival], gaps),
    }
    if len(rivals) == 2:
        last = rivals[1]
        both = right[subject] & right[rival] & ~right[last]
        outcomes[f"{subject} and {rival} right, {last} wrong"] = (
            both,
            scores[subject] - scores[last],
        )
    return outcomes


def _most_different(members: np.ndarray, gaps: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The same queries by falling difference, those that repeat a class moved to the end."""
    members = members[np.argsort(-gaps[members], kind="stable")]
    _, first = np.unique(labels[members], return_index=True)
    repeats = np.ones(len(members), bool)
    repeats[first] = False
    return members[np.argsort(repeats, kind="stable")]


def _shares(sizes: list[int], total: int) -> list[int]:
    """Splits a number as evenly as the sizes of the groups allow."""
    shares = [0] * len(sizes)
    for _ in range(min(total, sum(sizes))):
        open_groups = [i for i, size in enumerate(sizes) if shares[i] < size]
        shares[min(open_groups, key=shares.__getitem__)] += 1
    return shares


def _group(group: Group, most: int, measured: Measured, names: list[str]) -> Html:
    """The queries of one group, and how many they were chosen from."""
    share = f"{group.size:,} of {most:,} queries"
    heading = tag("h3", tag("bdi", group.title), " ", tag("span", share, class_="note"))
    k, kind = (_NEIGHBORS, "strips") if measured.queries is None else (_RANKED, "strips ranked")
    found = {name: ranked_lists(measured, name, group.shown, k) for name in names}
    strips = [
        _strip(query, {name: rows[i] for name, rows in found.items()}, measured)
        for i, query in enumerate(group.shown.tolist())
    ]
    return join([heading, tag("div", *strips, class_=kind)])


def _strip(query: int, found: dict[str, np.ndarray], measured: Measured) -> Html:
    """One query and a row of neighbors for each network."""
    name = measured.class_name(query)
    text = tag("span", "Query: ", tag("bdi", name))
    query_line = tag("div", *_shown(query, f"Query: {name}", measured), text)
    rows = [
        tag("tr", tag("th", named(network), scope="row"), *_cells(query, neighbors, measured))
        for network, neighbors in found.items()
    ]
    return tag("table", tag("caption", query_line), tag("tbody", *rows), class_="strip")


def _cells(query: int, neighbors: np.ndarray, measured: Measured) -> list[Html]:
    """Neighbors, nearest first, each marked right or wrong by border, sign and alternative text."""
    cells = []
    for rank, index in enumerate(neighbors.tolist(), start=1):
        right = bool(measured.labels[index] == measured.labels[query])
        name = measured.class_name(index)
        alt = f"{rank}. {name}, {'right' if right else 'wrong'}"
        content = _shown(index, alt, measured, title=name) or [_in_words(alt, name)]
        cells.append(tag("td", *content, _mark(right), class_="right" if right else "wrong"))
    return cells


def _shown(index: int, alt: str, measured: Measured, title: str | None = None) -> list[Html]:
    """The picture of an image, or nothing where only embeddings are at hand."""
    return [] if measured.images is None else [picture(measured.images[index], alt, title)]


def _in_words(alt: str, name: str) -> Html:
    """What stands for a picture that is not at hand."""
    return tag("span", tag("bdi", name), class_="named", title=name, role="img", aria_label=alt)


def _mark(right: bool) -> Html:
    """The sign on a picture; the alternative text says it as well."""
    sign, kind = ("\N{CHECK MARK}", "right") if right else ("\N{BALLOT X}", "wrong")
    return tag("span", sign, class_=f"mark {kind}", aria_hidden="true")
