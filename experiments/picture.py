"""Draws README's picture from the tables of the experiments: docs/images/quality_*.svg.

    python -m experiments.picture

A row for each set: the student alone, the distilled student and the teacher, Recall@1 on unseen
classes, mean and standard deviation over seeds.
"""

import csv
from pathlib import Path
from typing import NamedTuple

import matplotlib

from darkrank_jax.files import replacing
from experiments.comparison import ALONE, TEACHER

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).parent
TARGET = HERE.parent / "docs" / "images"
COMBINED = "DarkRank soft, whole batch, and embedding match"


class Panel(NamedTuple):
    """A row of the picture: its title, its table, and the method that is shown."""

    title: str
    table: str
    method: str = COMBINED


PANELS = (
    Panel("Omniglot, 600 steps", "omniglot/results.csv"),
    Panel("Cars-196 (half), teacher from scratch", "cars196_half/results.csv"),
    Panel("Grocery Store, pretrained teacher", "photographs/scratch_grocery_store_short.csv"),
    Panel(
        "Cars-196 (half), pretrained teacher, 4,000 steps",
        "photographs/scratch_cars196_half_long.csv",
    ),
)
# Colours of a theme: text, lines, and the three networks.
THEMES = {
    "light": {"text": "#1f2328", "line": "#d0d7de", "colours": ("#8c959f", "#0969da", "#bc4c00")},
    "dark": {"text": "#e6edf3", "line": "#3d444d", "colours": ("#8b949e", "#4493f8", "#f0883e")},
}
LABELS = ("student alone", "distilled student", "teacher")


def read_panel(panel: Panel) -> list[list[float]]:
    """Recall@1 of each seed: of the student alone, the distilled student, the teacher."""
    with (HERE / panel.table).open(newline="") as file:
        rows = list(csv.DictReader(file))
    networks = (ALONE, panel.method, TEACHER)
    return [
        [float(row["recall_at_1"]) for row in rows if row["method"] == network]
        for network in networks
    ]


def draw(theme: str, panels: tuple[Panel, ...], path: Path) -> None:
    """Writes the picture in one theme.

    Args:
      theme: in THEMES.
      panels: from top to bottom.
      path: of the SVG file.
    """
    look = THEMES[theme]
    figure, axes = plt.subplots(figsize=(8, 0.8 + 0.75 * len(panels)))
    for row, panel in enumerate(panels):
        means = [float(np.mean(each)) for each in read_panel(panel)]
        axes.plot([means[0], means[-1]], [row, row], color=look["line"], linewidth=3, zorder=1)
        for place, (values, mean, colour) in enumerate(
            zip(read_panel(panel), means, look["colours"], strict=True)
        ):
            spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            axes.errorbar(mean, row, xerr=spread, color=colour, fmt="o", markersize=8, capsize=3)
            # The one in the middle below, since networks may lie close together.
            above = (0, -19) if place == 1 else (0, 9)
            axes.annotate(
                f"{mean:.3f}".lstrip("0"), (mean, row), above, textcoords="offset points",
                ha="center", color=colour,
            )  # fmt: skip
    axes.set_yticks(range(len(panels)), [panel.title for panel in panels], color=look["text"])
    axes.set_ylim(len(panels) - 0.5, -0.7)
    axes.set_xlim(0, 1)
    axes.set_xlabel("Recall@1 on unseen classes", color=look["text"])
    axes.tick_params(colors=look["text"], length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(look["line"])
    for label, colour in zip(LABELS, look["colours"], strict=True):
        axes.plot([], [], "o", color=colour, label=label, markersize=8)
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3, frameon=False,
        labelcolor=look["text"],
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        figure.savefig(
            beside, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None}
        )
    plt.close(figure)


if __name__ == "__main__":
    plt.rcParams["svg.hashsalt"] = "darkrank_jax"
    for name in THEMES:
        draw(name, PANELS, TARGET / f"quality_{name}.svg")
        print(f"Wrote {TARGET / f'quality_{name}.svg'}")
