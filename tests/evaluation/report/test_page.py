"""The page: that it is whole, needs nothing else, and that data cannot become markup."""

import base64
import hashlib
import html
import io
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.report import headline
from tests.evaluation.report.made import (
    ATTACK,
    CLASSES,
    IMAGES,
    SECTIONS,
    Page,
    measured_set,
    network,
    run_results,
    written,
)

STRIPS = 12 * (1 + 3 * 5)  # one picture of each query and five neighbors under three networks
CHARTS = [
    *["Recall@1 in percent with its 95 % interval", "MAP@R in percent with its 95 % interval"],
    *["Recall@1 by images a second", "Recall@1 by parameters", "Recall at K in percent"],
    *["Overlap of the first K with the teacher’s", "Kendall’s tau within the teacher’s first K"],
    *["Distances by teacher", "Distances by baseline", "Distances by student"],
    *["Validation Recall@1", "Training loss", "Training loss", "Training loss"],
]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_page_is_whole_and_needs_nothing_else(tmp_path, channels):
    results = run_results()
    measured = measured_set(results["networks"], channels)
    text = written(tmp_path, results, {"test": measured})
    page = Page(text)
    assert re.findall(r'<h2 id="[a-z-]+">(.*?)</h2>', text) == SECTIONS
    assert re.findall(r'<a href="#[a-z-]+">(.*?)</a>', text) == SECTIONS
    assert page.names.count("h1") == 1
    assert headline(results) in page.text
    assert not re.search(r"https?://|@import|url\(|<script[^>]", text)
    assert "default-src 'none'" in html.unescape(text)
    assert text.isascii() or 'charset="utf-8"' in text
    assert len(text) < 3e6
    # The strips, the two columns of the worst classes and the sheet of the map.
    mistaken = text.count('<td class="words"><span')
    pictures = page.all("img")
    assert len(pictures) == STRIPS + CLASSES + mistaken + 1
    assert all("alt" in picture for picture in pictures)
    assert sum(bool(picture["alt"]) for picture in pictures) == STRIPS
    assert page.names.count("caption") == page.names.count("table") == 1 + 12 + 1
    charts = [svg["aria-label"] for svg in page.all("svg") if svg.get("role") == "img"]
    assert [re.split("[,:.]", chart)[0] for chart in charts] == CHARTS
    assert "student: from 3 at step 10 to 1.5 at step 20." in charts[-1]


def test_only_the_pages_own_script_may_run(tmp_path):
    text = written(tmp_path, run_results())
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html.unescape(text)


def test_pictures_are_the_images_pixel_for_pixel(tmp_path):
    results = run_results()
    measured = measured_set(results["networks"], channels=3)
    pictures = Page(written(tmp_path, results, {"test": measured})).all("img")
    originals = {
        image.tobytes(): label
        for image, label in zip(measured.images, measured.labels, strict=True)
    }
    query, told = None, 0
    for picture in pictures:
        if not picture["alt"]:
            continue
        data = base64.b64decode(picture["src"].removeprefix("data:image/png;base64,"))
        label = originals[np.asarray(Image.open(io.BytesIO(data))).tobytes()]
        told += 1
        if picture["alt"].startswith("Query"):
            query = label
            assert picture["alt"] == f"Query: class {label}"
        else:
            verdict = "right" if label == query else "wrong"
            assert re.fullmatch(rf"[1-5]\. class {label}, {verdict}", picture["alt"])
    assert told == STRIPS


def test_large_photographs_are_reduced_and_keep_their_form(tmp_path):
    results = run_results(teacher=None, baseline=None)
    images = np.full((IMAGES, 256, 128, 3), 90, np.uint8)
    measured = measured_set(["student"], images=images)
    pictures = Page(written(tmp_path, results, {"test": measured})).all("img")
    sizes = {(p["width"], p["height"]) for p in pictures if p["alt"]}
    assert sizes == {("32", "64")}
    assert {p["src"][:15] for p in pictures} == {"data:image/jpeg"}


def test_every_text_from_data_is_escaped(tmp_path):
    results = run_results()
    results |= {"name": ATTACK, "devices": ATTACK}
    results["dataset"]["source"] = ATTACK
    student = results["networks"].pop("student")
    student["losses"] = {ATTACK: {ATTACK: ATTACK}}
    student["model"] = {"name": ATTACK, ATTACK: ATTACK}
    student["metrics"][ATTACK] = 0.5
    results["networks"][ATTACK] = student
    names = (ATTACK + '" onerror="x',) * CLASSES
    measured = measured_set(results["networks"], class_names=names)
    page = Page(written(tmp_path, results, {"test": measured}))
    assert page.names.count("script") == 1
    assert not any("onerror" in attributes for _, attributes in page.attributes)
    assert page.text.count(ATTACK) > 60
    assert all(ATTACK in picture["alt"] for picture in page.all("img") if picture["alt"])


def test_class_names_that_are_no_unicode_do_not_stop_the_page(tmp_path):
    measured = measured_set(run_results()["networks"], class_names=("\udcff",) * CLASSES)
    assert r"Query: <bdi>\udcff</bdi>" in written(tmp_path, run_results(), {"test": measured})


def test_the_same_input_gives_the_same_bytes(tmp_path):
    assert written(tmp_path, run_results()) == written(tmp_path, run_results())


def test_a_section_without_data_is_left_out(tmp_path):
    bare = measured_set([])
    text = Page(written(tmp_path, run_results(), {"test": bare}, curves={})).text
    for heading in ("Nearest images", "Map of embeddings", "Distances", "Worst classes"):
        assert heading not in text
    assert "Learning curves" not in text
    assert "Rank agreement" in text


def test_embeddings_without_images_are_named_instead_of_shown(tmp_path):
    results = run_results()
    measured = measured_set(results["networks"], images=None)
    page = Page(written(tmp_path, results, {"test": measured}))
    assert page.all("img") == []
    named = [span for span in page.all("span") if span.get("class") == "named"]
    assert len(named) == 12 * 3 * 5
    assert all(re.fullmatch(r"[1-5]\. class \d+, (right|wrong)", x["aria-label"]) for x in named)


def test_stored_embeddings_have_no_cost(tmp_path):
    results = run_results()
    for row in results["networks"].values():
        for field in ("model", "losses", "parameters", "images_per_second", "steps"):
            del row[field]
        del row["training_seconds"]
    results["dataset"] |= {"source": "stored embeddings", "split": ""}
    text = Page(written(tmp_path, results)).text
    assert "The student recovers 43\xa0% of the gap in Recall@1 between the baseline" in text
    assert "on 12 classes." in text
    assert "stored embeddings \N{MIDDLE DOT}" in text
    assert "Speed against quality" not in text
    assert "Settings" not in text


def test_several_datasets_share_the_page(tmp_path):
    results = run_results()
    rows = {name: {"metrics": network(0.25)["metrics"]} for name in results["networks"]}
    dataset = {
        "source": "omniglot",
        "split": "train",
        "images": IMAGES,
        "queries": IMAGES,
        "classes": CLASSES,
    }
    results["further_datasets"] = {"new": {"dataset": dataset, "networks": rows}}
    measured = measured_set(results["networks"])
    text = written(tmp_path, results, {"first": measured, "new": measured})
    headings = re.findall(r'<h2 id="([a-z-]+)">(.*?)</h2>', text)
    assert ("results-on-first", "Results on first") in headings
    assert ("nearest-images-on-new", "Nearest images on new") in headings
    assert len(dict(headings)) == len(headings)
    # Two datasets have six queries each.
    assert text.count("Query: <bdi>") == 12
    second = text[text.index('id="results-on-new"') : text.index('id="nearest-images-on-new"')]
    assert ">25.0</td>" in second
    assert ">80.0" not in second
    assert ">8,100</td>" in second


def test_the_settings_stand_as_calls(tmp_path):
    text = Page(written(tmp_path, run_results())).text
    assert "resnet18(width=32)triplet(weight=1.0, margin=0.2)" in text


def test_a_page_that_cannot_be_made_leaves_the_old_one(tmp_path):
    before = written(tmp_path, run_results())
    broken = run_results()
    del broken["networks"]["student"]["losses"]
    with pytest.raises(KeyError, match="losses"):
        written(tmp_path, broken)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before


def test_a_page_that_cannot_be_put_in_place_leaves_nothing_behind(tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(UserError, match=r"report\.html: must be a regular file; choose another"):
        written(tmp_path, run_results())
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_shows_every_picture_and_has_no_complaint(tmp_path):
    names = list(run_results()["networks"])
    measured = measured_set(names, class_names=(ATTACK,) * CLASSES)
    expected = Page(written(tmp_path, run_results(), {"test": measured}))
    page = tmp_path / "report.html"
    flags = (
        "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --enable-logging=stderr --dump-dom"
    )
    command = ["chromium", *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "CONSOLE" not in done.stderr
    shown = Page(done.stdout)
    assert shown.names.count("img") == expected.names.count("img") > STRIPS
    assert shown.names.count("script") == 1
    assert ATTACK in shown.text
    # The script has run: what only it can serve is no longer hidden.
    (chooser,) = (p for p in shown.all("p") if p.get("class") == "chooser")
    assert "hidden" not in chooser
