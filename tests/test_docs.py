"""The code on the pages that users copy from."""

import re
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest

from darkrank_jax import losses
from darkrank_jax.config.reader import read_run
from darkrank_jax.data import SOURCES
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.export.source import load_source
from darkrank_jax.runs import train as runs
from darkrank_jax.runs.splits import Splits
from darkrank_jax.workdir.metrics_log import read_log
from docs import figures, table

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if BLOCK.search(page.read_text())]
# Pages whose code takes many seconds.
LONG = {"index.md", "losses.md", "pretrained.md"}
# Page of the guides -> the loss whose value shows that its config trains.
CONFIGS = {"own_data.md": "supcon", "add_a_loss.md": "cosine"}


@pytest.fixture(autouse=True)
def tables():
    """What a page enters in a table is for that page alone."""
    with mock.patch.dict(SOURCES), mock.patch.dict(losses.LOSSES):
        yield


def read_page(page):
    """The code of a page, from top to bottom; what it defines."""
    blocks, names = BLOCK.findall(page.read_text()), {"__name__": page.stem}
    # Readers have JAX's own setting.
    with jax.numpy_rank_promotion("allow"):
        exec(compile("\n".join(blocks), page.name, "exec"), names)
    return names


def test_every_file_of_tests_that_a_page_names_exists():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("experiments/*/*.md")]
    named = {name for page in pages for name in re.findall(r"`(tests/[\w./]+)`", page.read_text())}
    assert named
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.slow if page.name in LONG else (), id=page.name)
        for page in PAGES
        if page.name not in CONFIGS
    ],
)
def test_the_code_of_a_page_runs_from_top_to_bottom(page):
    read_page(page)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "loss"), CONFIGS.items(), ids=CONFIGS)
def test_the_code_of_a_page_runs_and_its_config_trains_a_step(page, loss, tmp_path):
    config = read_page(ROOT / "docs" / "guides" / page)["get_config"]().unlock()
    for each in filter(None, (config, config.teacher)):
        each.model.update({"name": "resnet10", "width": 4, "stem": "strided", "embedding_dim": 8})
        each.data.update({"image_size": (16, 24 if "own" in page else 16), "batch_size": 8})
        each.steps = each.log_every = each.schedule.warmup_steps = 1
        if each.data.source == "glyphs":
            each.data.options = {"num_classes": 20, "images_per_class": 4}
    run = read_run(config.to_dict())
    runs.train(run, Splits(), tmp_path, "network", make_mesh(8, jax.devices()[:1]))
    (value,) = [row[f"losses/{loss}"] for row in read_log(tmp_path) if "loss" in row]
    assert np.isfinite(value)
    assert value > 0.01
    # The workdir is enough to use the network, without what the config file entered in tables.
    SOURCES.pop("stripes", None)
    losses.LOSSES.pop("cosine", None)
    assert load_source(tmp_path).facts["embedding_dim"] == 8


def test_every_loss_has_a_row_with_what_its_docstring_says():
    page = table.PAGE.read_text()
    assert table.fill(page) == page, "run python -m docs.table"
    rows = [row[1] for row in table.ROW.finditer(page)]
    assert sorted(rows) == sorted(name for name in losses.__all__ if name.endswith("_loss"))
    assert all(cell.strip() for row in table.ROW.finditer(page) for cell in row.groups())


def test_every_loss_has_a_section_with_formula_and_use_on_one_family_page():
    pages = [page.read_text() for page in sorted((ROOT / "docs/losses").glob("*.md"))]
    names = [name for page in pages for name in re.findall(r"^## `(\w+)`$", page, re.MULTILINE)]
    assert sorted(names) == sorted(name for name in losses.__all__ if name.endswith("_loss"))
    for page in pages:
        for section in page.split("\n## ")[1:]:
            assert re.search(r"^\$\$\n.+?\n\$\$$", section, re.MULTILINE | re.DOTALL), section
            # The default of one loss stands there beside its alternative.
            assert "**Use it**" in section or "The default" in section, section


@pytest.mark.parametrize(
    "family", sorted(page.stem for page in (ROOT / "docs/losses").glob("*.md"))
)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_figures_of_a_family_show_every_loss_of_its_page(family, theme):
    page = (ROOT / "docs" / "losses" / f"{family}.md").read_text()
    names = {name for name in losses.LOSSES if f"## `{name}_loss`" in page}
    for figure in (f"{family}_moves_{theme}.svg", f"{family}_gradient_{theme}.svg"):
        assert f"images/losses/{figure}#only-{theme}" in page
        drawn = set(
            re.findall(r">([a-z_]+)</text>", (ROOT / "docs/images/losses" / figure).read_text())
        )
        assert names <= drawn, f"run python -m docs.figures: {names - drawn}"


def test_gradient_of_a_pair_in_a_figure_changes_sign_at_the_teachers_distance():
    (curve,) = figures.curve_to_teacher("similarity_match").values()
    assert (curve[figures.CURVE < 0.99] > 0).all()
    assert (curve[figures.CURVE > 1.01] < 0).all()


def test_triplet_curve_in_a_figure_ends_where_the_negative_is_a_margin_away():
    push = figures.curve_by_class("triplet")["push of a negative"]
    # The anchor's positive is at sqrt(2 - 2 * 0.85) = .548, the margin .2.
    assert (push[figures.CURVE < 0.74] > 0).all()
    assert (push[figures.CURVE > 0.76] == 0).all()


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_no_delimiter_stretches_around_a_sum_which_the_drawing_library_cannot_draw(page):
    for formula in re.findall(r"^\$\$\n(.*?)\n\$\$$", page.read_text(), re.MULTILINE | re.DOTALL):
        depth = 0
        for token in re.findall(r"\\(left|right|sum)(?![a-z])", formula):
            depth += {"left": 1, "right": -1, "sum": 0}[token]
            assert depth == 0 or token != "sum", f"{formula}: write \\bigg( for \\left("
