"""The section of pictures: the nearest images of a dozen queries on which the networks differ."""

import base64
import io
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from PIL import Image

from darkrank_jax.data import Images
from darkrank_jax.evaluation.report.markup import Html, join, tag
from darkrank_jax.evaluation.report.words import subject

_QUERIES = 12
_NEIGHBORS = 5
# Networks are compared on so many queries, which bounds the time on large splits.
_CANDIDATES = 1000
# Rows of the distance matrix held at once, which bounds the memory.
_BLOCK = 128
# Larger pictures are reduced to this many pixels, to bound the size of the page.
_LONGEST_SIDE = 64


class Gallery(NamedTuple):
    """The images that the networks searched, in the order of the embeddings."""

    images: Images
    labels: Integer[np.ndarray, " images"]
    class_names: tuple[str, ...]


class Group(NamedTuple):
    """Queries that tell the networks apart in one way: what it is, how many, which are shown."""

    title: str
    size: int
    shown: Integer[np.ndarray, " shown"]


def nearest_neighbors(
    embeddings: Float[np.ndarray, "images dim"], queries: Integer[np.ndarray, " queries"], k: int
) -> Integer[np.ndarray, "queries neighbors"]:
    """Finds the nearest images of some queries by Euclidean distance.

    Args:
      embeddings: of every image.
      queries: indices of the images that search; each is left out of its own list by index, so
        that a duplicate of it can be found.
      k: how many neighbors, at most one less than there are images.

    Returns:
      Indices of the min(k, images - 1) nearest, nearest first.

    Example:
      >>> nearest_neighbors(np.array([[0.0], [5.0], [3.0], [0.0]]), np.array([0, 1]), k=2)
      array([[3, 2],
             [2, 0]])
    """
    embeddings = embeddings.astype(np.float32)
    squares = (embeddings**2).sum(axis=1)
    k = min(k, len(embeddings) - 1)
    found = [np.empty((0, k), int)]
    for block in np.split(queries, range(_BLOCK, len(queries), _BLOCK)):
        # The squared distance but for |query|^2, which is the same for the whole row.
        distances = squares - 2 * embeddings[block] @ embeddings.T
        np.put_along_axis(distances, block[:, None], np.inf, axis=1)
        nearest = np.sort(np.argpartition(distances, k - 1, axis=1)[:, :k], axis=1)
        order = np.take_along_axis(distances, nearest, axis=1).argsort(axis=1, kind="stable")
        found.append(np.take_along_axis(nearest, order, axis=1))
    return np.concatenate(found)


def neighbors_section(
    results: dict[str, Any],
    gallery: Gallery,
    embeddings: dict[str, Float[np.ndarray, "images _"]],
) -> Html:
    """Shows what each network finds for queries that are chosen by a rule, which is stated.

    Args:
      results: what `results.json` holds.
      gallery: the images of the split.
      embeddings: network -> its embeddings of these images. Of several students the one with the
        best Recall@1 is shown.

    Returns:
      A section of tables of pictures, or nothing where there are no embeddings.
    """
    searched = {n: network for n, network in results["networks"].items() if n in embeddings}
    if not searched:
        return Html("")
    student = subject(searched)
    shown = {n: embeddings[n] for n in ("teacher", "baseline", student) if n in searched}
    candidates = _candidates(gallery.labels, results["seed"])
    groups = _choose(gallery.labels, shown, student, candidates)
    rule = (
        "A query is right when its nearest image shows the same class. "
        f"{len(candidates):,} of the {len(gallery.labels):,} images were drawn at random (seed "
        f"{results['seed']}) as queries and sorted into the groups below; of each group the first "
        "drawn are shown, a second one of a class only when there is no other class."
    )
    key = tag("p", _mark(True), " same class as the query ", _mark(False), " another class")
    parts = [_group(group, len(candidates), gallery, shown) for group in groups]
    return tag("section", tag("h2", "Nearest images"), tag("p", rule), key, *parts)


def _candidates(labels: np.ndarray, seed: int) -> np.ndarray:
    """Queries in random order; an image alone in its class cannot be right and is left out."""
    _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    return order[sizes[classes[order]] > 1][:_CANDIDATES]


def _choose(
    labels: np.ndarray, embeddings: dict[str, np.ndarray], student: str, candidates: np.ndarray
) -> list[Group]:
    """Sorts the candidates into groups and shares the dozen out among them."""
    right = {
        name: labels[nearest_neighbors(array, candidates, k=1)[:, 0]] == labels[candidates]
        for name, array in embeddings.items()
    }
    groups = {title: candidates[inside] for title, inside in _outcomes(right, student).items()}
    shares = _shares([len(members) for members in groups.values()], _QUERIES)
    return [
        Group(title, len(members), _new_classes_first(members, labels)[:share])
        for (title, members), share in zip(groups.items(), shares, strict=True)
    ]


def _outcomes(
    right: dict[str, Bool[np.ndarray, " queries"]], student: str
) -> dict[str, Bool[np.ndarray, " queries"]]:
    """The ways in which the networks differ, by a title in words; no query is in two."""
    rivals = [name for name in ("baseline", "teacher") if name in right and name != student]
    if not rivals:
        return {f"{student} wrong": ~right[student], f"{student} right": right[student]}
    rival = rivals[0]
    outcomes = {
        f"{student} right, {rival} wrong": right[student] & ~right[rival],
        f"{student} wrong, {rival} right": ~right[student] & right[rival],
    }
    if len(rivals) == 2:
        lost = right["teacher"] & ~right["baseline"] & ~right[student]
        outcomes[f"{student} and baseline wrong, teacher right"] = lost
    return outcomes


def _shares(sizes: list[int], total: int) -> list[int]:
    """Splits a number as evenly as the sizes of the groups allow."""
    shares = [0] * len(sizes)
    for _ in range(min(total, sum(sizes))):
        open_groups = [i for i, size in enumerate(sizes) if shares[i] < size]
        shares[min(open_groups, key=shares.__getitem__)] += 1
    return shares


def _new_classes_first(members: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The same queries, those that repeat a class moved to the end."""
    _, first = np.unique(labels[members], return_index=True)
    repeats = np.ones(len(members), bool)
    repeats[first] = False
    return members[np.argsort(repeats, kind="stable")]


def _group(
    group: Group, candidates: int, gallery: Gallery, embeddings: dict[str, np.ndarray]
) -> Html:
    """The queries of one group, and how many they were chosen from."""
    share = f"{group.size:,} of {candidates:,} queries"
    heading = tag("h3", tag("bdi", group.title), " ", tag("span", share, class_="note"))
    found = {n: nearest_neighbors(e, group.shown, _NEIGHBORS) for n, e in embeddings.items()}
    strips = [
        _strip(query, {name: rows[i] for name, rows in found.items()}, gallery)
        for i, query in enumerate(group.shown.tolist())
    ]
    return join([heading, tag("div", *strips, class_="strips")])


def _strip(query: int, found: dict[str, np.ndarray], gallery: Gallery) -> Html:
    """One query and a row of neighbors for each network."""
    name = _class_name(query, gallery)
    picture = _picture(gallery.images[query], f"Query: {name}")
    query_line = tag("div", picture, tag("span", "Query: ", tag("bdi", name)))
    rows = [
        tag("tr", tag("th", tag("bdi", network), scope="row"), *_cells(query, neighbors, gallery))
        for network, neighbors in found.items()
    ]
    return tag("table", tag("caption", query_line), tag("tbody", *rows), class_="strip")


def _cells(query: int, neighbors: np.ndarray, gallery: Gallery) -> list[Html]:
    """Neighbors, nearest first, each marked right or wrong by border, sign and alternative text."""
    cells = []
    for rank, index in enumerate(neighbors.tolist(), start=1):
        right = bool(gallery.labels[index] == gallery.labels[query])
        name = _class_name(index, gallery)
        alt = f"{rank}. {name}, {'right' if right else 'wrong'}"
        picture = _picture(gallery.images[index], alt, title=name)
        cells.append(tag("td", picture, _mark(right), class_="right" if right else "wrong"))
    return cells


def _mark(right: bool) -> Html:
    """The sign on a picture; the alternative text says it as well."""
    sign, kind = ("\N{CHECK MARK}", "right") if right else ("\N{BALLOT X}", "wrong")
    return tag("span", sign, class_=f"mark {kind}", aria_hidden="true")


def _class_name(index: int, gallery: Gallery) -> str:
    """The class of an image in words."""
    return gallery.class_names[gallery.labels[index]]


def _picture(image: UInt8[np.ndarray, "h w c"], alt: str, title: str | None = None) -> Html:
    """An image inside the page; one that is shown larger than it is keeps its pixels sharp."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    kind = "pixels" if max(picture.size) <= _LONGEST_SIDE else None
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    source = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    size = {"width": picture.width, "height": picture.height}
    return tag("img", src=source, alt=alt, title=title, class_=kind, **size)
