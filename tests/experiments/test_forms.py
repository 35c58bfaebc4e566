"""Every experiment's page has the same parts in the same order, and a figure of its results."""

import re
from pathlib import Path

import pytest

from docs import experiment_pages
from experiments import picture

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "experiments").glob("*/README.md"))
PARTS = ["Question", "Command", "Setup", "Table", "Figure", "Verdict", "Reservations"]
GALLERY = ROOT / "docs" / "experiments.md"


def tables(folder):
    """Tables of results, which are not those of tuning."""
    return [path for path in folder.glob("*.csv") if not path.stem.endswith("tuning")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_a_page_has_all_parts_in_order(page):
    found = re.findall(r"^\*\*(\w+)\.\*\*", page.read_text(), re.MULTILINE)
    first = list(dict.fromkeys(part for part in found if part in PARTS))
    assert first == [part for part in PARTS if part != "Figure" or tables(page.parent)]


def test_every_experiment_has_a_page_and_a_place_in_the_gallery():
    folders = {path.parent for path in PAGES[0].parents[1].glob("*/*.py")}
    assert folders == {page.parent for page in PAGES}
    named = set(re.findall(r"\(experiments/(\w+)\.md\)", GALLERY.read_text()))
    assert named == {folder.name for folder in folders}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if tables(page.parent)], ids=lambda page: page.parent.name
)
def test_an_experiment_with_results_shows_their_figure_in_both_themes(page):
    gallery, folder = GALLERY.read_text(), page.parent.name
    figures = [f"{folder}_{t.stem}" for t in tables(page.parent) if picture.figure_of(t)]
    assert figures
    for figure in figures:
        for theme in picture.THEMES:
            assert f"docs/images/experiments/{figure}_{theme}.svg" in page.read_text()
            assert f"images/experiments/{figure}_{theme}.svg#only-{theme}" in gallery


@pytest.mark.parametrize("page", experiment_pages.pages().values(), ids=experiment_pages.pages())
def test_a_page_of_the_site_leads_to_pages_and_pictures_of_the_site(page):
    text = experiment_pages.site_page(page.read_text(), page.parent.name)
    assert "<picture>" not in text
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        if target.startswith("../images/"):
            assert (ROOT / "docs" / target[3:]).exists()
        else:
            assert target in experiment_pages.pages()


@pytest.mark.parametrize("theme", picture.THEMES)
@pytest.mark.parametrize(("name", "figure"), picture.figures().items(), ids=picture.figures())
def test_a_figure_has_the_rows_and_means_of_its_table(name, figure, theme):
    drawn = re.sub(r"\s+", " ", (picture.IMAGES / f"{name}_{theme}.svg").read_text())
    written = re.findall(r">([^<>]+)</t(?:ext|span)>", drawn)
    missing = [text for text in figure.texts() if text not in written]
    assert missing == [], "python -m experiments.picture"


def test_a_chart_of_methods_has_the_best_first_and_means_over_seeds():
    rows = [
        {"method": name, "seed": str(seed), "recall_at_1": str(value / 2), "map_at_r": str(value)}
        for name, values in {"student alone": (0.1, 0.2), "new": (0.3, 0.5)}.items()
        for seed, value in enumerate(values)
    ]
    chart = picture.of_methods(rows, "method")
    assert chart.titles == ["new", "student alone"]
    assert [[dot.text() for dot in dots] for dots in chart.panels["MAP@R"]] == [[".400"], [".150"]]
    assert [dots[0].values for dots in chart.panels["Recall@1"]] == [[0.15, 0.25], [0.05, 0.1]]
    assert [dots[0].kind for dots in chart.panels["MAP@R"]] == [1, 0]


def test_a_table_over_steps_has_curves_of_all_seeds(tmp_path):
    path = tmp_path / "curves.csv"
    head = "method,setting,seed,step,recall_at_1,map_at_r\n"
    path.write_text(f"{head}RKD,0,1,500,0.25,0.125\nRKD,0,1,900,0.5,0.25\nRKD,0,2,500,0.75,0.5\n")
    found = picture.figure_of(path)
    assert found.panels["Recall@1, validation"] == {"RKD": {500: [0.25, 0.75], 900: [0.5]}}
    assert found.panels["MAP@R, validation"] == {"RKD": {500: [0.125, 0.5], 900: [0.25]}}
    assert found.texts() == ["RKD", *found.panels, "training steps"]
    path.write_text("method,setting,seed,recall_at_1,map_at_r\nRKD,0,1,0.25,0.125\n")
    assert picture.figure_of(path).titles == ["RKD"]
