"""A flat map of the embeddings, on which hovering or the arrow keys show the images."""

from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from darkrank_jax.evaluation.report.markup import Html, join, tag
from darkrank_jax.evaluation.report.measured import Measured
from darkrank_jax.evaluation.report.thumbnails import data_url, sheet

# Points of a map: enough to see clusters, few enough for t-SNE to take about a second.
_POINTS = 480
_MOST_OF_CLASS = 20
# t-SNE's rounds: past these its picture hardly moves any more.
_ROUNDS = 500
_PERPLEXITY = 20
# Fewer points than this are not laid out.
_FEWEST = 8
_SIDE, _MARGIN = 400, 12
_COLUMNS, _THUMBNAIL = 24, 48
_VERDICTS = {True: "nearest image right", False: "nearest image wrong"}


def map_section(measured: Measured, names: list[str], seed: int, points: int = _POINTS) -> Html:
    """Lays the embeddings of whole classes out in the plane by t-SNE, one map a network.

    Args:
      measured: the images and their embeddings.
      names: networks to draw; each map has the same images.
      seed: of the classes that are drawn and of t-SNE.
      points: about how many images.

    Returns:
      The maps with their tooltip, or nothing where there are too few images.
    """
    names = [name for name in names if name in measured.embeddings]
    searching = np.flatnonzero(measured.searching())
    chosen = searching[choose(measured.labels[searching], points, seed)]
    if not names or len(chosen) < _FEWEST:
        return Html("")
    classes = np.unique(measured.labels[chosen])
    number = {int(label): index for index, label in enumerate(classes)}
    figures = [_figure(measured, name, chosen, number, seed) for name in names]
    drawn = f"{len(chosen):,} images of {len(classes):,} classes"
    note = (
        f"{drawn} drawn at random (seed {seed}), laid out by t-SNE: near neighbours stay near, "
        "distances between clusters mean little. Hover, or step with the arrow keys, to see an "
        "image and its class; Escape ends it."
    )
    key = tag(
        "p",
        _sample(True),
        " nearest of all images is right ",
        _sample(False),
        " is wrong",
        class_="map-key",
    )
    parts = [key, _chooser(measured, classes), tag("div", *figures, class_="charts")]
    maps = tag("div", *parts, _tip(measured, chosen), class_="map")
    return join([tag("p", note), maps])


def choose(
    labels: Integer[np.ndarray, " images"], points: int, seed: int
) -> Integer[np.ndarray, " chosen"]:
    """Images of random classes, at most 20 of each, until there are enough.

    Args:
      labels: of all images.
      points: least number of images, where there are enough.
      seed: of the order of classes.

    Returns:
      Indices, class by class; classes of one image have no cluster and are left out.

    Example:
      >>> choose(np.array([0, 1, 1, 2, 2, 2]), points=3, seed=0).tolist()
      [1, 2, 3, 4, 5]
    """
    counts = np.bincount(labels)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(counts > 1))
    shown = np.minimum(counts[order], _MOST_OF_CLASS)
    enough = int(np.searchsorted(np.cumsum(shown), points)) + 1
    members = [np.flatnonzero(labels == label)[:_MOST_OF_CLASS] for label in order[:enough]]
    return np.concatenate(members) if members else np.empty(0, int)


def layout(embeddings: Float[np.ndarray, "points _"], seed: int) -> Float[np.ndarray, "points 2"]:
    """t-SNE's places of some embeddings, scaled into the unit square.

    Args:
      embeddings: at least 8 rows, finite.
      seed: of its random numbers.

    Returns:
      The same places for the same input.

    Source: van der Maaten and Hinton, JMLR 2008.
    """
    # Slow to import, and only a page needs it.
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    centred = embeddings.astype(np.float64) - embeddings.mean(axis=0)
    spread = np.abs(centred).max()
    if spread == 0:
        return np.full((len(embeddings), 2), 0.5)
    perplexity = min(_PERPLEXITY, (len(embeddings) - 1) / 3)
    start: Any = _start(centred)
    tsne = TSNE(perplexity=perplexity, max_iter=_ROUNDS, random_state=seed, init=start)
    # So few points are quickest in one thread, and the order of sums is then the same everywhere.
    with threadpool_limits(limits=1):
        places = tsne.fit_transform(centred / spread)
    low, high = places.min(axis=0), places.max(axis=0)
    return (places - low) / np.maximum(high - low, 1e-12)


def _start(centred: np.ndarray) -> np.ndarray:
    """The two main directions of some points, small, as t-SNE should start."""
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((len(centred), 2))
    plane[:, : min(2, len(scale))] = (left * scale)[:, :2]
    return 1e-4 * plane / plane[:, 0].std()


def _figure(
    measured: Measured, name: str, chosen: np.ndarray, number: dict[int, int], seed: int
) -> Html:
    """The map of one network; its first point is where the keyboard enters."""
    places = layout(measured.embeddings[name][chosen], seed)
    places = _MARGIN + places * (_SIDE - 2 * _MARGIN)
    right = measured.right(name)
    points = [
        _point(
            x,
            y,
            bool(right[index]),
            place,
            number[int(measured.labels[index])],
            measured.class_name(index),
        )
        for place, (index, (x, y)) in enumerate(zip(chosen.tolist(), places.tolist(), strict=True))
    ]
    share = f"{right[chosen].mean():.0%} of them right"
    label = (
        f"Map of {len(chosen):,} images by {name}, {share}. Arrow keys step from image to image."
    )
    box = f"0 0 {_SIDE} {_SIDE}"
    svg = tag("svg", *points, viewBox=box, role="group", aria_label=label)
    return tag("figure", tag("figcaption", tag("bdi", name)), svg)


def _point(x: float, y: float, right: bool, place: int, class_number: int, name: str) -> Html:
    """An image: a disc where its nearest image is right, a square where it is wrong."""
    shared = {
        "class_": f"point {'right' if right else 'wrong'}",
        "role": "img",
        "aria_label": f"{name}, {_VERDICTS[right]}",
        "data_image": place,
        "data_class": class_number,
        "tabindex": 0 if place == 0 else None,
    }
    if right:
        return tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3.5, **shared)
    return tag("rect", x=f"{x - 3:.1f}", y=f"{y - 3:.1f}", width=6, height=6, **shared)


def _sample(right: bool) -> Html:
    """A point by itself, for the key."""
    kind = "point right" if right else "point wrong"
    shape = (
        tag("circle", cx=7, cy=7, r=4.5, class_=kind)
        if right
        else tag("rect", x=3, y=3, width=8, height=8, class_=kind)
    )
    return tag("svg", shape, viewBox="0 0 14 14", width=14, height=14, aria_hidden="true")


def _chooser(measured: Measured, classes: np.ndarray) -> Html:
    """A list of classes to light one up; hidden until the script that serves it runs."""
    named = sorted((measured.class_names[label], i) for i, label in enumerate(classes.tolist()))
    options = [tag("option", "all classes", value="")]
    options += [tag("option", name, value=index) for name, index in named]
    return tag("p", tag("label", "Light up ", tag("select", *options)), class_="chooser", hidden="")


def _tip(measured: Measured, chosen: np.ndarray) -> Html:
    """What hovering shows; the script moves the sheet of all images behind its window."""
    text = tag("span", class_="tip-text")
    if measured.images is None:
        return tag("div", text, class_="tip", hidden="", aria_hidden="true")
    images = measured.images[chosen]
    exact = max(images.shape[1:3]) <= _THUMBNAIL
    sprite, (width, height) = sheet(images, _COLUMNS, _THUMBNAIL)
    source = data_url(sprite, exact=exact)
    size = {"width": sprite.width, "height": sprite.height, "class_": "pixels" if exact else None}
    window = tag(
        "span",
        tag("img", src=source, alt="", **size),
        class_="window",
        data_width=width,
        data_height=height,
        data_columns=_COLUMNS,
    )
    return tag("div", window, text, class_="tip", hidden="", aria_hidden="true")
