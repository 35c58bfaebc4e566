"""Draws what each loss pulls and pushes: docs/images/losses/*.svg, from the losses' gradients.

    python -m docs.figures [FAMILY ...]

Two figures for each family of losses, each in a light and a dark theme. In "moves" the arrows are
the negative gradients of points in a plane, the longest of a panel set to one length. In
"gradient" one point moves away from another, and the curves are the gradient's length.
"""

import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

from darkrank_jax.files import replacing
from darkrank_jax.losses import LOSSES, centers_of, normalize

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PAGES = Path(__file__).parent / "losses"
TARGET = Path(__file__).parent / "images" / "losses"
THEMES = {
    "light": {"text": "#1f2328", "line": "#d0d7de", "grey": "#8c959f"},
    "dark": {"text": "#e6edf3", "line": "#3d444d", "grey": "#8b949e"},
}
# Of classes in "moves" and of losses in "gradient"; seen in both themes.
COLOURS = ("#2f81f7", "#d97706", "#2da44e", "#bf4b8a", "#8250df", "#0f9d9d", "#c93c37", "#7a7f16")
# Settings other than the defaults, so that a figure shows the loss and not a saturated curve.
SETTINGS: dict[str, dict[str, Any]] = {
    "circle": {"scale": 16.0},
    "darkrank_soft": {"list_size": None, "alpha": 3.0, "beta": 1.0},
    "darkrank_hard": {"list_size": None, "alpha": 3.0, "beta": 1.0},
    "compatible_ranking": {"list_size": None, "alpha": 3.0, "beta": 1.0},
    "arcface": {"scale": 8.0},
    "cosface": {"scale": 8.0},
    "normalized_softmax": {"temperature": 0.125},
    "sub_center_arcface": {"centers": 2, "scale": 8.0},
    "soft_triple": {"centers": 2, "scale": 8.0},
    "tuplet_margin": {"scale": 8.0},
    "fast_ap": {"num_bins": 4},
    "sphereface": {"scale": 8.0},
    "smooth_ap": {"temperature": 0.1},
    "multi_similarity": {"beta": 10.0},
    "correlation_congruence": {"kernel": "gaussian"},
    "proxy_anchor": {"scale": 8.0},
    "proxy_nca": {"scale": 3.0},
}
# Degrees on the unit circle of three classes, with one point of each on a wrong side.
ANGLES = {0: (80, 105, 195), 1: (200, 230, 330), 2: (310, 350, 95)}
CENTRES = (100, 215, 320)
CURVE = np.linspace(0.05, 1.95, 77)


def families() -> dict[str, list[str]]:
    """Losses that LOSSES has of each family's page in docs/losses, in the page's order."""
    found = {
        page.stem: [
            line[4:-6]
            for line in page.read_text(encoding="utf-8").splitlines()
            if line.startswith("## `") and line[4:-6] in LOSSES
        ]
        for page in sorted(PAGES.glob("*.md"))
    }
    # A page without a loss, such as the one on arguments, is no family.
    return {family: names for family, names in found.items() if names}


def gradients(name: str, *arrays: jax.Array, movable: tuple[int, ...]) -> tuple[jax.Array, ...]:
    """Gradients of a loss of LOSSES in some of its arrays, by their positions."""
    function = LOSSES[name].function
    value = functools.partial(function, **SETTINGS.get(name, {}))
    return jax.jit(jax.grad(value, movable))(*arrays)


def on_circle(degrees: Any) -> np.ndarray:
    """Points of the unit circle, [n, 2]."""
    radians = np.deg2rad(np.asarray(degrees, float))
    return np.stack([np.cos(radians), np.sin(radians)], -1)


def arrows(axes: Any, points: np.ndarray, moves: Any, colours: Any, longest: float) -> None:
    """Draws arrows, of which `longest` has length 0.45."""
    vectors = 0.45 * np.asarray(moves) / max(longest, 1e-12)
    axes.quiver(
        *points.T, *vectors.T, color=colours, angles="xy", scale_units="xy", scale=1,
        width=0.012, headwidth=4, headlength=4, headaxislength=3.5, minlength=0.5, zorder=3,
    )  # fmt: skip


def move_by_class(name: str, axes: Any, look: Mapping[str, str]) -> None:
    """Points of three classes, with class weights as diamonds where the loss takes them."""
    labels = np.repeat(list(ANGLES), [len(angles) for angles in ANGLES.values()])
    points = on_circle(np.concatenate(list(ANGLES.values())))
    colours = [COLOURS[label] for label in labels]
    arrays, shown = [jnp.asarray(points), jnp.asarray(labels)], [(points, colours, "o")]
    if "class_weights" in LOSSES[name].inputs:
        # Of several centers a class, the first is where others have their one.
        centers = centers_of(name, SETTINGS.get(name, {}))
        weights = on_circle([angle + 40 * k for angle in CENTRES for k in range(centers)])
        arrays.append(jnp.asarray(weights.T))
        shown.append((weights, [colour for colour in COLOURS[:3] for _ in range(centers)], "D"))
    found = gradients(name, *arrays, movable=(0, 2) if len(arrays) == 3 else (0,))
    moves = [-found[0], *(-each.T for each in found[1:])]
    longest = max(float(jnp.linalg.norm(each, axis=-1).max()) for each in moves)
    axes.add_patch(plt.Circle((0, 0), 1, fill=False, color=look["line"], zorder=1))
    for (places, tints, marker), move in zip(shown, moves, strict=True):
        axes.scatter(*places.T, c=tints, s=42, marker=marker, zorder=2)
        arrows(axes, places, move, tints, longest)


def move_to_teacher(name: str, axes: Any, look: Mapping[str, str]) -> None:
    """Points of a student, filled, and the teacher's points of the same images, hollow."""
    angles, turned = np.array([[10, 60, 85, 160, 215, 290], [45, 35, 135, 180, 175, 315]])
    teacher = on_circle(angles)
    student = on_circle(turned) * np.array([0.7, 1.1, 0.8, 1, 0.9, 1])[:, None]
    arrays = [jnp.asarray(x).reshape(_shape(name, x)) for x in (student, teacher)]
    moves = -gradients(name, *arrays, movable=(0,))[0].reshape(student.shape)
    for pair in zip(student, teacher, strict=True):
        axes.plot(*np.transpose(pair), color=look["line"], zorder=1)
    axes.scatter(*teacher.T, facecolors="none", edgecolors=look["grey"], s=42, zorder=2)
    axes.scatter(*student.T, c=COLOURS[0], s=42, zorder=2)
    longest = float(jnp.linalg.norm(moves, axis=-1).max())
    arrows(axes, student, moves, COLOURS[0], longest)


def _shape(name: str, points: np.ndarray) -> tuple[int, ...]:
    """Points as a loss takes them: attention maps of two places, or rows."""
    return (len(points), 1, 2, 1) if "maps" in LOSSES[name].inputs else points.shape


@functools.cache
def curve_by_class(name: str) -> dict[str, np.ndarray]:
    """Gradient's length of a positive, and of a negative, by its distance to the anchor."""
    anchor, third = jnp.eye(3)[0], jnp.eye(3)[2]
    nearer = 0.85 * anchor + jnp.sqrt(1 - 0.85**2) * third
    labels = jnp.array([0, 0, 1])

    def at(distance: jax.Array, *, moves_positive: bool) -> jax.Array:
        cosine = 1 - distance**2 / 2
        moved = jnp.array([cosine, jnp.sqrt(1 - cosine**2), 0.0])
        rows = (anchor, moved, third) if moves_positive else (anchor, nearer, moved)
        (gradient,) = gradients(name, jnp.stack(rows), labels, movable=(0,))
        return jnp.linalg.norm(gradient[1 if moves_positive else 2])

    titles = {"pull of a positive": True, "push of a negative": False}
    return {
        title: np.asarray(jax.vmap(lambda d, w=which: at(d, moves_positive=w))(CURVE))
        for title, which in titles.items()
    }


@functools.cache
def curve_by_weight(name: str) -> dict[str, np.ndarray]:
    """Gradient's length of an embedding by its distance to the own class weight."""
    columns = jnp.repeat(jnp.array([0, 2]), centers_of(name, SETTINGS.get(name, {})))
    weights, labels = jnp.eye(3)[:, columns], jnp.array([0])

    def at(distance: jax.Array) -> jax.Array:
        cosine = 1 - distance**2 / 2
        moved = jnp.array([[cosine, jnp.sqrt(1 - cosine**2), 0.0]])
        return jnp.linalg.norm(gradients(name, moved, labels, weights, movable=(0,))[0])

    return {"pull to the own class": np.asarray(jax.vmap(at)(CURVE))}


@functools.cache
def curve_to_teacher(name: str) -> dict[str, np.ndarray]:
    """Push (above 0) or pull between two rows of a student whose teacher has them at distance 1."""
    teacher = normalize(jnp.array([[1.0, 0, 0], [0.5, 0.75**0.5, 0], [0.5, 0.2887, 0.8165]]))

    def at(distance: jax.Array) -> jax.Array:
        half = distance / 2
        height = jnp.sqrt(1 - half**2)
        # At distance 1 from both, as the teacher has it, where a unit vector can be.
        cosine = jnp.minimum(0.5 / height, 1.0)
        third = jnp.array([0.0, cosine, jnp.sqrt(1 - cosine**2)])
        student = jnp.stack([jnp.array([half, height, 0]), jnp.array([-half, height, 0]), third])
        return -gradients(name, student, teacher, movable=(0,))[0][0, 0]

    return {"push (+) or pull (-) of a pair": np.asarray(jax.vmap(at)(CURVE))}


@functools.cache
def curve_of_value(name: str) -> dict[str, np.ndarray]:
    """Gradient in one number of the student's output, where the teacher's is 1 and its other 1."""

    def at(value: jax.Array) -> jax.Array:
        student, teacher = jnp.stack([value, 1.0])[None], jnp.ones((1, 2))
        arrays = [x.reshape(_shape(name, np.ones((1, 2)))) for x in (student, teacher)]
        return -gradients(name, *arrays, movable=(0,))[0].reshape(-1)[0]

    return {"move of a value; teacher's: 1": np.asarray(jax.vmap(at)(CURVE))}


# Arrays that a loss takes -> its curves, and what the curves are over.
CURVES: dict[tuple[str, ...], tuple[Callable[[str], dict[str, np.ndarray]], str]] = {
    ("embeddings", "labels"): (curve_by_class, "distance to the anchor"),
    ("embeddings", "labels", "class_weights"): (curve_by_weight, "distance to the class weight"),
    ("embeddings", "teacher_embeddings"): (curve_to_teacher, "student's distance; teacher's: 1"),
}
OUTPUTS = (curve_of_value, "student's value")


def draw_moves(names: list[str], look: Mapping[str, str]) -> Any:
    """A panel of arrows for each loss."""
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    size = (2.45 * columns, 2.6 * rows)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axes in grid.flat:
        axes.set_axis_off()
    for name, axes in zip(names, grid.flat, strict=False):
        draw = move_by_class if "labels" in LOSSES[name].inputs else move_to_teacher
        draw(name, axes, look)
        axes.set(xlim=(-1.45, 1.45), ylim=(-1.45, 1.45), aspect="equal")
        axes.set_title(name, color=look["text"], fontsize=11)
    return figure


def draw_gradient(family: str, names: list[str], look: Mapping[str, str]) -> Any:
    """Curves of all losses of a family in the same panels, each over its largest value."""
    known = {name: CURVES.get(LOSSES[name].inputs, OUTPUTS) for name in names}
    if family == "outputs":
        known = dict.fromkeys(names, OUTPUTS)
    curves = {name: curve(name) for name, (curve, _) in known.items()}
    titles = list(next(iter(curves.values())))
    figure, grid = plt.subplots(
        1, len(titles), figsize=(7.4, 3.1), squeeze=False, sharey=True, layout="constrained"
    )
    for title, axes in zip(titles, grid.flat, strict=True):
        for place, name in enumerate(names):
            values = curves[name][title]
            scaled = values / max(np.abs(values).max(), 1e-12)
            colour = COLOURS[place % len(COLOURS)]
            dashed = "-" if place < len(COLOURS) else "--"
            axes.plot(CURVE, scaled, dashed, color=colour, label=name, linewidth=1.8)
        axes.axhline(0, color=look["line"], linewidth=1, zorder=0)
        axes.set_title(title, color=look["text"], fontsize=11)
        axes.set_xlabel(known[names[0]][1], color=look["text"])
        axes.tick_params(colors=look["text"], length=0)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("bottom", "left"))
            spine.set_color(look["line"])
    handles, texts = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, texts, loc="outside right center", frameon=False, labelcolor=look["text"]
    )
    return figure


def write(figure: Any, path: Path) -> None:
    """Writes a figure as SVG, with its text as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        figure.savefig(beside, format="svg", transparent=True, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Draws every family."""
    plt.rcParams.update({"svg.hashsalt": "darkrank_jax", "svg.fonttype": "none"})
    plt.rcParams["font.family"] = "sans-serif"
    jax.config.update("jax_enable_x64", True)
    only = sys.argv[1:]
    for family, names in families().items():
        if only and family not in only:
            continue
        for theme, look in THEMES.items():
            write(draw_moves(names, look), TARGET / f"{family}_moves_{theme}.svg")
            write(draw_gradient(family, names, look), TARGET / f"{family}_gradient_{theme}.svg")
        print(f"{family}: {', '.join(names)}")


if __name__ == "__main__":
    main()
