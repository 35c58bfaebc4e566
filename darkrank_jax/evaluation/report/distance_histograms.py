"""Histograms of distances between images of the same class and of different classes."""

import numpy as np

from darkrank_jax.evaluation.report.chart import (
    BOTTOM,
    HEIGHT,
    X_PLACES,
    Y_PLACES,
    drawing,
    figure,
    frame,
    key_entry,
    linear_axis,
)
from darkrank_jax.evaluation.report.formatting import percent
from darkrank_jax.evaluation.report.markup import Html, join, tag
from darkrank_jax.evaluation.report.measured import Measured

# Pairs of either kind: enough for a smooth histogram, few enough to be quick.
_PAIRS = 50_000
_BINS = 60
_KINDS = {"same": "same class", "other": "different classes"}


def distances_section(measured: Measured, names: list[str], seed: int) -> Html:
    """Draws how far apart images of one class and of different classes lie.

    Args:
      measured: the images and their embeddings.
      names: networks to draw.
      seed: of the pairs that are drawn.

    Returns:
      A chart for each network, or nothing where no two images share a class.
    """
    names = [name for name in names if name in measured.embeddings]
    pairs = _pairs(measured.labels, seed)
    if not names or not all(map(len, pairs.values())):
        return Html("")
    figures = [_figure(name, measured.embeddings[name], pairs) for name in names]
    note = (
        f"Euclidean distances of {len(pairs['same']):,} pairs of the same class and "
        f"{len(pairs['other']):,} of different classes, drawn at random (seed {seed}); each "
        "histogram has area 1. The line is the threshold at which as many pairs of the same class "
        "lie beyond it as pairs of different classes before it: the equal error rate."
    )
    return join([tag("div", *figures, class_="charts"), tag("p", note, class_="note")])


def equal_error(same: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """The threshold at which both kinds of pair are mistaken equally often, and how often.

    Args:
      same: distances of pairs of the same class.
      other: distances of pairs of different classes.

    Returns:
      (threshold, rate).

    Example:
      >>> equal_error(np.array([1.0, 2.0, 3.0, 6.0]), np.array([4.0, 7.0, 8.0, 9.0]))
      (4.0, 0.25)
    """
    same, other = np.sort(same), np.sort(other)
    thresholds = np.union1d(same, other)
    missed = len(same) - np.searchsorted(same, thresholds, side="right")
    taken = np.searchsorted(other, thresholds, side="right")
    # In whole numbers, so that of two thresholds that are as good the smaller one is taken.
    best = int(np.argmin(np.abs(missed * len(other) - taken * len(same))))
    rate = (missed[best] / len(same) + taken[best] / len(other)) / 2
    return float(thresholds[best]), float(rate)


def _pairs(labels: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Pairs [count, 2] of both kinds, drawn at random; a pair may come twice."""
    rng = np.random.default_rng(seed)
    order = np.argsort(labels, kind="stable")
    _, start, size = np.unique(labels[order], return_index=True, return_counts=True)
    classes = np.unique(labels, return_inverse=True)[1]
    # A class of n images holds n (n - 1) pairs, so an image counts as often as it has others.
    others = size[classes] - 1
    if not others.any():
        return {"same": np.empty((0, 2), int), "other": np.empty((0, 2), int)}
    first = rng.choice(len(labels), _PAIRS, p=others / others.sum())
    place = np.empty(len(labels), int)
    place[order] = np.arange(len(labels)) - start[classes[order]]
    step = 1 + rng.integers(0, others[first])
    second = order[start[classes[first]] + (place[first] + step) % size[classes[first]]]
    drawn = rng.integers(0, len(labels), (_PAIRS, 2))
    different = labels[drawn[:, 0]] != labels[drawn[:, 1]]
    return {"same": np.stack([first, second], axis=1), "other": drawn[different]}


def _figure(name: str, embeddings: np.ndarray, pairs: dict[str, np.ndarray]) -> Html:
    """Both histograms of one network."""
    distances = {
        kind: np.linalg.norm(
            embeddings[pair[:, 0]].astype(np.float64) - embeddings[pair[:, 1]], axis=1
        )
        for kind, pair in pairs.items()
    }
    most = max(array.max() for array in distances.values())
    x = linear_axis(0, most, X_PLACES)
    edges = np.linspace(0, x.ticks[-1], _BINS + 1)
    heights = {
        kind: np.histogram(array, edges, density=True)[0] for kind, array in distances.items()
    }
    y = linear_axis(0, max(array.max() for array in heights.values()), Y_PLACES)
    threshold, rate = equal_error(distances["same"], distances["other"])
    areas = [
        tag("path", d=_area(x, y, edges, values), class_=f"area {kind}")
        for kind, values in heights.items()
    ]
    at = x.place(threshold)
    line = tag("line", x1=at, x2=at, y1=y.places[1], y2=HEIGHT - BOTTOM, class_="threshold")
    medians = " ".join(
        f"The median of {_KINDS[kind]} is {np.median(array):.3g}."
        for kind, array in distances.items()
    )
    said = f"equal error rate {percent(rate)} at {threshold:.3g}"
    label = f"Distances by {name}. {medians} {said[0].upper()}{said[1:]}."
    chart = drawing(*frame(x, y, "distance"), *areas, line, label=label)
    key = [key_entry(tag("span", class_=f"swatch {kind}"), text) for kind, text in _KINDS.items()]
    title = tag("span", tag("bdi", name), ", ", tag("span", said, class_="note"))
    return figure(title, chart, key)


def _area(x, y, edges: np.ndarray, heights: np.ndarray) -> str:
    """The path of a histogram, from its first bin that is not empty to its last."""
    filled = np.flatnonzero(heights)
    first, last = filled[0], filled[-1]
    floor = y.place(0)
    path = [f"M{x.place(edges[first]):g} {floor:g}"]
    for index in range(first, last + 1):
        path.append(f"V{y.place(heights[index]):g}H{x.place(edges[index + 1]):g}")
    return f"{''.join(path)}V{floor:g}z"
