"""Draws README's picture and a figure for each table of results, in a light and a dark theme.

    python -m experiments.picture

Writes docs/images/quality_*.svg, and docs/images/experiments/EXPERIMENT_TABLE_*.svg from
experiments/EXPERIMENT/TABLE.csv: a row for each network, mean and standard deviation of its values;
of a table over steps, a curve for each.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np

from darkrank_jax.files import replacing
from experiments.comparison import ALONE, TEACHER

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

HERE = Path(__file__).parent
IMAGES = HERE.parent / "docs" / "images"
STEPS = "training steps"
COMBINED = "DarkRank soft, whole batch, and embedding match"
# Kinds of networks: index of the colour -> in the legend.
KINDS = ("student alone", "distilled student", "teacher")
# Colours of a theme: text, lines, and the kinds.
THEMES = {
    "light": {"text": "#1f2328", "line": "#d0d7de", "colours": ("#6e7781", "#0969da", "#bc4c00")},
    "dark": {"text": "#e6edf3", "line": "#3d444d", "colours": ("#9198a1", "#4493f8", "#f0883e")},
}
# README's rows: title, table, and the method that is shown.
QUALITY = (
    ("Omniglot, 600 steps", "omniglot/results.csv", COMBINED),
    ("Cars-196 (half), 1,500 steps", "cars196_half/results.csv", COMBINED),
    ("Cars-196 (half), 6,000 steps", "cars196_half/long.csv", COMBINED),
    ("Grocery Store, pretrained teacher", "photographs/scratch_grocery_store_short.csv", COMBINED),
    (
        "Cars-196 (half), pretrained teacher, 4,000 steps",
        "photographs/scratch_cars196_half_long.csv",
        COMBINED,
    ),
)


# What is written -> column of a table.
METRICS = {"Recall@1": "recall_at_1", "MAP@R": "map_at_r"}
# Networks of one kind, in the order of the table.
DASHES = ("-", "--", ":", "-.")


class Dot(NamedTuple):
    """A mean in a row: its values, its kind, and how the mean is written."""

    values: Sequence[float]
    kind: int
    form: Callable[[float], str]

    def text(self) -> str:
        """The mean as it stands beside the dot."""
        return self.form(float(np.mean(self.values)))


class Chart(NamedTuple):
    """Rows with the same titles in each panel.

    Attributes:
      titles: of the rows, from top to bottom.
      panels: what is along x -> the dots of each row.
      limits: of x; None: from the values.
      log: whether x is logarithmic.
      kinds: what the legend calls them.
      mark: of x, a line to compare with.
    """

    titles: Sequence[str]
    panels: Mapping[str, Sequence[Sequence[Dot]]]
    limits: tuple[float, float] | None = None
    log: bool = False
    kinds: Sequence[str] = KINDS
    mark: float | None = None

    def texts(self) -> list[str]:
        """What is written in it."""
        dots = [dot for rows in self.panels.values() for dots in rows for dot in dots]
        return [*self.titles, *(dot.text() for dot in dots), *self.panels]


class Curves(NamedTuple):
    """Networks over the steps of their training, in each panel.

    Attributes:
      panels: what is along y -> name of a network -> values of all seeds by step.
    """

    panels: Mapping[str, Mapping[str, Mapping[int, Sequence[float]]]]

    def texts(self) -> list[str]:
        """What is written in it."""
        return [*next(iter(self.panels.values())), *self.panels, STEPS]


def share(value: float) -> str:
    """A share of one as the tables have it.

    Example:
      >>> share(0.1449)
      '.145'
    """
    return f"{value:.3f}".lstrip("0")


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def quality() -> Chart:
    """README's picture: student alone, distilled student and teacher of each set."""
    dots = []
    for _, table, method in QUALITY:
        rows = read(HERE / table)
        networks = (ALONE, method, TEACHER)
        values = [
            [float(row["recall_at_1"]) for row in rows if row["method"] == network]
            for network in networks
        ]
        dots.append([Dot(each, kind, share) for kind, each in enumerate(values)])
    titles = [title for title, *_ in QUALITY]
    return Chart(titles, {"Recall@1 on unseen classes": dots}, limits=(0, 1))


def of_methods(rows: Sequence[Mapping[str, str]], column: str) -> Chart:
    """Methods over seeds, best MAP@R first; `column` has their names."""
    names = list(dict.fromkeys(row[column] for row in rows))

    def values(name: str, metric: str) -> list[float]:
        return [float(row[metric]) for row in rows if row[column] == name]

    names.sort(key=lambda name: -np.mean(values(name, "map_at_r")))
    panels = {
        head: [[Dot(values(name, metric), kind_of(name), share)] for name in names]
        for head, metric in METRICS.items()
    }
    return Chart(names, panels)


def kind_of(method: str) -> int:
    """The kind of network that a method gives: a place in KINDS."""
    return {TEACHER: 2, ALONE: 0}.get(method, 1)


def of_steps(rows: Sequence[Mapping[str, str]]) -> Curves:
    """Methods over steps, in the order of the table."""
    panels = {f"{head}, validation": defaultdict(lambda: defaultdict(list)) for head in METRICS}
    for row in rows:
        for curves, metric in zip(panels.values(), METRICS.values(), strict=True):
            curves[row["method"]][int(row["step"])].append(float(row[metric]))
    return Curves(panels)


def of_runtimes(rows: Sequence[Mapping[str, str]]) -> Chart:
    """Throughput of each network in each runtime, its Recall@1 beside it."""
    dots = []
    for row in rows:
        recall = share(float(row["recall_at_1"]))
        form = lambda value, recall=recall: f"{value:,.0f}, R@1 {recall}"  # noqa: E731
        kind = {"student": 1, "teacher": 2}[row["network"]]
        dots.append([Dot([float(row["images_per_second"])], kind, form)])
    titles = [f"{row['network']}, {row['runtime']}" for row in rows]
    return Chart(titles, {"images/s, 64 at once": dots}, log=True)


def of_ratios(rows: Sequence[Mapping[str, str]]) -> Chart:
    """Time of other engines over ours, by network and pass."""
    engines = [
        engine for engine in dict.fromkeys(row["engine"] for row in rows) if engine != "ours"
    ]
    names = list(dict.fromkeys(row["network"] for row in rows))
    found = {(row["network"], row["pass"], row["engine"]): float(row["times_ours"]) for row in rows}

    def dots(name: str, part: str) -> list[Dot]:
        known = [engine for engine in engines if (name, part, engine) in found]
        return [
            Dot([found[name, part, engine]], engines.index(engine), lambda value: f"{value:.2f}")
            for engine in known
        ]

    parts = dict.fromkeys(row["pass"] for row in rows)
    panels = {f"time over ours, {part}": [dots(name, part) for name in names] for part in parts}
    kinds = [f"PyTorch, {engine}" for engine in engines]
    return Chart(names, panels, kinds=kinds, mark=1.0)


def of_memory(rows: Sequence[Mapping[str, str]]) -> Chart:
    """Resident memory in each fifth of a run."""
    seconds = np.array([float(row["seconds"]) for row in rows])
    memory = np.array([float(row["mebibytes"]) for row in rows])
    fifth = np.minimum((seconds / seconds.max() * 5).astype(int), 4)
    minutes = np.linspace(0, seconds.max() / 60, 6)
    titles = [f"{minutes[i]:.0f} to {minutes[i + 1]:.0f} minutes" for i in range(5)]
    dots = [[Dot(memory[fifth == i].tolist(), 1, lambda value: f"{value:.0f}")] for i in range(5)]
    return Chart(titles, {"memory of the process, MiB": dots})


def figure_of(path: Path) -> Chart | Curves | None:
    """The figure of a table by its columns; None of other columns, and of tuning."""
    rows = read(path)
    columns = set(rows[0]) if rows else set()
    if path.stem.endswith("tuning"):
        return None
    if {"network", "runtime", "images_per_second"} <= columns:
        return of_runtimes(rows)
    if {"seconds", "mebibytes"} <= columns:
        return of_memory(rows)
    if {"network", "pass", "engine", "times_ours"} <= columns:
        return of_ratios(rows)
    if {"method", "step", *METRICS.values()} <= columns:
        return of_steps(rows)
    for column in ("method", "name"):
        if {column, "seed", *METRICS.values()} <= columns:
            return of_methods(rows, column)
    return None


def figures() -> dict[str, Chart | Curves]:
    """Name of each figure -> the figure."""
    found: dict[str, Chart | Curves] = {"quality": quality()}
    for path in sorted(HERE.glob("*/*.csv")):
        if (figure := figure_of(path)) is not None:
            found[f"experiments/{path.parent.name}_{path.stem}"] = figure
    return found


def draw_curves(curves: Curves, look: Mapping[str, Any]) -> Figure:
    """Mean and standard deviation of each network at each step."""
    figure, grid = plt.subplots(1, len(curves.panels), figsize=(8, 3.6), layout="constrained")
    for axes, (head, panel) in zip(grid, curves.panels.items(), strict=True):
        used: Counter[int] = Counter()
        for name, by_step in panel.items():
            kind = kind_of(name)
            colour, steps = look["colours"][kind], sorted(by_step)
            mean = np.array([np.mean(by_step[step]) for step in steps])
            spread = np.array([np.std(by_step[step]) for step in steps])
            axes.plot(steps, mean, DASHES[used[kind]], color=colour, label=name)
            axes.fill_between(steps, mean - spread, mean + spread, color=colour, alpha=0.12, lw=0)
            used[kind] += 1
        axes.set_ylabel(head, color=look["text"])
        axes.set_xlabel(STEPS, color=look["text"])
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axes.set_xlim(left=0)
        axes.tick_params(colors=look["text"], length=0)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("bottom", "left"))
            spine.set_color(look["line"])
    lines, names = grid[0].get_legend_handles_labels()
    figure.legend(
        lines, names, loc="outside upper center", ncols=2, frameon=False, labelcolor=look["text"]
    )
    return figure


def draw_chart(chart: Chart, look: Mapping[str, Any]) -> Figure:
    """A row for each title, with its dots."""
    # Numbers below the dots, too, where a row has several.
    several = any(len(dots) > 1 for rows in chart.panels.values() for dots in rows)
    height = 0.8 + (0.75 if several else 0.45) * len(chart.titles)
    figure, grid = plt.subplots(
        1, len(chart.panels), figsize=(8, height), squeeze=False, sharey=True, layout="constrained"
    )
    for axes, (head, rows) in zip(grid[0], chart.panels.items(), strict=True):
        for row, dots in enumerate(rows):
            draw_row(axes, row, dots, look)
        axes.set_yticks(range(len(chart.titles)), chart.titles, color=look["text"])
        axes.set_ylim(len(chart.titles) - 0.5, -0.7)
        axes.set_xlabel(head, color=look["text"])
        if chart.mark is not None:
            axes.axvline(chart.mark, color=look["line"], zorder=0)
        if chart.log:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
            axes.xaxis.set_minor_locator(NullLocator())
        axes.margins(x=0.15)
        if chart.limits:
            axes.set_xlim(chart.limits)
        axes.tick_params(colors=look["text"], which="both", length=0)
        for side, spine in axes.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(look["line"])
    kinds = sorted({d.kind for rows in chart.panels.values() for dots in rows for d in dots})
    for kind in kinds if len(kinds) > 1 else []:
        grid[0, 0].plot(
            [], [], "o", color=look["colours"][kind], label=chart.kinds[kind], markersize=8
        )
    if len(kinds) > 1:
        figure.legend(loc="outside upper center", ncols=3, frameon=False, labelcolor=look["text"])
    return figure


def draw_row(axes: Any, row: int, dots: Sequence[Dot], look: Mapping[str, Any]) -> None:
    """The dots of a row, with a line from the first to the last."""
    means = [float(np.mean(dot.values)) for dot in dots]
    axes.plot([means[0], means[-1]], [row, row], color=look["line"], linewidth=3, zorder=1)
    for place, (dot, mean) in enumerate(zip(dots, means, strict=True)):
        spread = float(np.std(dot.values, ddof=1)) if len(dot.values) > 1 else 0.0
        colour = look["colours"][dot.kind]
        axes.errorbar(mean, row, xerr=spread, color=colour, fmt="o", markersize=7, capsize=3)
        # Apart, since networks may lie close together: the one in the middle below.
        above = (0, -19) if place == 1 else (0, 8)
        side = ("right", "center", "left")[place] if len(dots) > 1 else "center"
        axes.annotate(
            dot.text(), (mean, row), above, textcoords="offset points", ha=side, color=colour,
            fontsize=9,
        )  # fmt: skip


def write(figure: Chart | Curves, theme: str, path: Path) -> None:
    """Writes a figure in one theme as SVG."""
    look = THEMES[theme]
    curves = isinstance(figure, Curves)
    drawn = draw_curves(figure, look) if curves else draw_chart(figure, look)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        drawn.savefig(beside, format="svg", transparent=True, metadata={"Date": None})
    plt.close(drawn)


def main() -> None:
    """Draws every figure."""
    plt.rcParams.update({"svg.hashsalt": "darkrank_jax", "svg.fonttype": "none"})
    plt.rcParams["font.family"] = "sans-serif"
    for name, figure in figures().items():
        for theme in THEMES:
            write(figure, theme, IMAGES / f"{name}_{theme}.svg")
        print(f"Wrote {IMAGES / name}_{{{','.join(THEMES)}}}.svg")


if __name__ == "__main__":
    main()
