"""The code on the pages that users copy from."""

import inspect
import re
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import save_file
from scipy.spatial.distance import cdist

import darkrank_jax
from darkrank_jax import evaluation, losses
from darkrank_jax.config.reader import read_run
from darkrank_jax.data import AUGMENTATIONS, SAMPLERS, SOURCES
from darkrank_jax.data.loading.sampler import class_rows
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.protocols import PROTOCOLS, Embedded
from darkrank_jax.export.command import export_run
from darkrank_jax.export.formats import FORMATS, LOADERS
from darkrank_jax.export.source import load_source
from darkrank_jax.inference.load import load_run
from darkrank_jax.losses import LOSSES
from darkrank_jax.models import MODELS
from darkrank_jax.models.pretrained import channels_first, load_weights
from darkrank_jax.models.weights.names import NAMINGS
from darkrank_jax.optimizers import OPTIMIZERS
from darkrank_jax.runs import train as runs
from darkrank_jax.runs.results import read_results
from darkrank_jax.runs.splits import Splits
from darkrank_jax.workdir.metrics_log import read_log
from docs import figures, table

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Those of the tutorials are in test_tutorials.py.
PAGES = [
    page
    for page in sorted((ROOT / "docs").rglob("*.md"))
    if BLOCK.search(page.read_text()) and page.parent.name != "tutorials"
]
# Pages whose code takes many seconds.
LONG = {"arguments.md", "index.md", "losses.md", "pretrained.md", "ranking.md"}
# Pages whose code needs what is not installed everywhere: tests/training/test_hooks.py has it.
ELSEWHERE = {"track.md"}
# Page of the guides -> the loss whose value shows that its config trains.
CONFIGS = {"own_data.md": "supcon"}
TABLES = (
    AUGMENTATIONS, LOADERS, FORMATS, LOSSES, MODELS, NAMINGS, OPTIMIZERS, PROTOCOLS, SAMPLERS,
    SOURCES,
)  # fmt: skip


@pytest.fixture(autouse=True)
def tables():
    """What a page enters in a table is for that page alone."""
    with ExitStack() as stack:
        for table_of_names in TABLES:
            stack.enter_context(mock.patch.dict(table_of_names))
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
        if page.name not in {*CONFIGS, *ELSEWHERE}
    ],
)
def test_the_code_of_a_page_runs_from_top_to_bottom(page):
    read_page(page)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "loss"), CONFIGS.items(), ids=CONFIGS)
def test_the_code_of_a_page_runs_and_its_config_trains_a_step(page, loss, tmp_path):
    config = read_page(ROOT / "docs" / "guides" / page)["get_config"]().unlock()
    config.model.update({"name": "resnet10", "width": 4, "stem": "strided", "embedding_dim": 8})
    config.data.update({"image_size": (16, 24), "batch_size": 8})
    config.steps = config.log_every = config.schedule.warmup_steps = 1
    run = read_run(config.to_dict())
    runs.train(run, Splits(), tmp_path, "network", make_mesh(8, jax.devices()[:1]))
    (value,) = [row[f"losses/{loss}"] for row in read_log(tmp_path) if "loss" in row]
    assert np.isfinite(value)
    assert value > 0.01
    # The workdir is enough to use the network, without what the config file entered in tables.
    SOURCES.pop("stripes")
    assert load_source(tmp_path).facts["embedding_dim"] == 8


EXTEND = ROOT / "docs" / "guides" / "extend.md"


def test_the_parts_of_the_page_on_extending_do_what_they_say(tmp_path):
    names = read_page(EXTEND)
    # A file under the page's names for tensors.
    tiny, image = names["Tiny"](width=3), np.zeros((1, 16, 24, 1), np.float32)
    variables = jax.jit(lambda: tiny.init(jax.random.key(1), image, train=False))()
    flat = traverse_util.flatten_dict(variables)
    tensors = {names["our_name"](name): channels_first(np.asarray(x)) for name, x in flat.items()}
    assert {"stages.0.conv.weight", "stages.2.bn.running_var"} < tensors.keys()
    save_file(tensors, tmp_path / "ours.safetensors")
    loaded = load_weights(tmp_path / "ours.safetensors", tiny, image_shape=image.shape[1:])
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)
    # Three classes of two images in four: with a high power the classes of four images.
    labels = np.repeat(np.arange(6), [2, 4, 2, 4, 2, 4])
    options = {"seed": 0, "batch_size": 6, "images_per_class": 2, "power": 30.0}
    for step in range(3):
        rows = names["large_classes"](class_rows(labels), step=step, **options)
        assert sorted(labels[rows]) == [1, 1, 3, 3, 5, 5]
    image, rng = np.array([[[3], [255]]], np.uint8), np.random.default_rng(0)
    assert names["invert"](image, rng, probability=1.0).tolist() == [[[252], [0]]]
    assert names["invert"](image, rng, probability=0.0) is image
    # One row is the nearest of all others.
    points = np.array([[0.0], [1.0], [-1.2], [1.3], [-1.5]])
    points = np.concatenate([points, [[0.0], [2.0], [2.5], [-2.7], [3.0]]], axis=1)
    hubs = names["hubness"](Embedded(points, np.arange(5)), k=1)
    near = cdist(points, points) + np.diag(np.full(5, np.inf))
    assert hubs == {"largest_hub_at_1": np.bincount(near.argmin(axis=1)).max()}


def test_the_config_of_the_page_on_extending_is_checked_by_signatures():
    config = read_page(EXTEND)["get_config"]().unlock()
    run = read_run(config.to_dict())
    assert (run.model["name"], run.optimizer["name"]) == ("tiny", "adabelief")
    config.data.sampler.powr = 2.0
    with pytest.raises(UserError, match=r"data\.sampler\.powr: .* did you mean 'power'"):
        read_run(config.to_dict())


@pytest.mark.slow
def test_the_config_of_the_page_on_extending_trains_is_measured_and_exported(tmp_path):
    config = read_page(EXTEND)["get_config"]().unlock()
    config.teacher.model.update({"name": "resnet10", "width": 4})
    config.baseline = {}
    for each in (config, config.teacher):
        each.model.embedding_dim = 8
        each.data.update({"image_size": 16, "batch_size": 8})
        each.data.options = {"num_classes": 20, "images_per_class": 8}
        each.steps = each.log_every = each.schedule.warmup_steps = 1
    runs.train_and_report(read_run(config.to_dict()), tmp_path / "run")
    rows = [row for row in read_log(tmp_path / "run") if "loss" in row]
    assert rows[0]["losses/cosine"] > 0.01
    networks = read_results(tmp_path / "run" / "results.json")["networks"]
    for name in ("teacher", "student"):
        assert networks[name]["protocols"]["hubness"]["largest_hub_at_5"] >= 5
    export_run(tmp_path / "run", formats="npz,safetensors")
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1), np.uint8)
    expected = load_run(tmp_path / "run").embed(images)
    for file in ("model.npz", "model.safetensors"):
        found = load_run(tmp_path / "run" / "export" / file).embed(images)
        np.testing.assert_allclose(found, expected, atol=1e-4)
    # The workdir is enough to use the network, without the losses that the file entered.
    losses.LOSSES.pop("cosine")
    assert load_source(tmp_path / "run").facts["embedding_dim"] == 8


def test_every_public_name_stands_on_a_page_of_the_api():
    shown = {
        module
        for page in (ROOT / "docs" / "api").glob("*.md")
        for module in re.findall(r"^::: ([\w.]+)$", page.read_text(), re.MULTILINE)
    }
    names = [
        getattr(package, name)
        for package in (darkrank_jax, losses, evaluation)
        for name in package.__all__
    ]
    modules = {
        each.__name__ if inspect.ismodule(each) else getattr(each, "__module__", "builtins")
        for each in names
    }
    # Of the tables, which are plain dictionaries, and of the version.
    assert sorted(modules - shown - {"builtins"}) == []
    sources = {each.__module__ for each in SOURCES.values()}
    assert sorted(sources - shown) == []


def test_every_loss_has_a_row_with_what_its_docstring_says():
    page = table.PAGE.read_text()
    assert table.fill(page) == page, "run python -m docs.table"
    rows = [row[1] for row in table.ROW.finditer(page)]
    assert sorted(rows) == sorted(name for name in losses.__all__ if name.endswith("_loss"))
    assert all(cell.strip() for row in table.ROW.finditer(page) for cell in row.groups())


def test_every_loss_has_a_section_with_formula_and_use_on_one_family_page():
    pages = [(ROOT / f"docs/losses/{family}.md").read_text() for family in figures.families()]
    names = [name for page in pages for name in re.findall(r"^## `(\w+)`$", page, re.MULTILINE)]
    assert sorted(names) == sorted(name for name in losses.__all__ if name.endswith("_loss"))
    for page in pages:
        for section in page.split("\n## ")[1:]:
            assert re.search(r"^\$\$\n.+?\n\$\$$", section, re.MULTILINE | re.DOTALL), section
            # The default of one loss stands there beside its alternative.
            assert "**Use it**" in section or "The default" in section, section


@pytest.mark.parametrize("family", figures.families())
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
