"""The report: what it says, that it is whole, and that data cannot become markup."""

import base64
import hashlib
import io
import re
import shutil
import subprocess
from fractions import Fraction
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.report import Measured, headline, write_report
from darkrank_jax.evaluation.report.agreement import agreement_section
from darkrank_jax.evaluation.report.cast import Cast, cast_of
from darkrank_jax.evaluation.report.chart import linear_axis, log_axis
from darkrank_jax.evaluation.report.classes import classes_section
from darkrank_jax.evaluation.report.comparison import (
    combine,
    comparison_headline,
    seeds_section,
    write_comparison,
)
from darkrank_jax.evaluation.report.curves import curves_section
from darkrank_jax.evaluation.report.distances import distances_section, equal_error
from darkrank_jax.evaluation.report.embedding_map import choose, layout, map_section
from darkrank_jax.evaluation.report.markup import tag
from darkrank_jax.evaluation.report.measured import neighbors_of
from darkrank_jax.evaluation.report.neighbors import neighbors_section
from darkrank_jax.evaluation.report.recall import recall_section
from darkrank_jax.evaluation.report.table import results_section
from darkrank_jax.evaluation.report.tradeoff import tradeoff_section

ATTACK = "<script>alert(1)</script>"
IMAGES, CLASSES = 60, 12


def network(recall, **changes):
    fields = {
        "model": {"name": "resnet10", "width": 8},
        "losses": {"triplet": {"weight": 1.0, "margin": 0.2}},
        "parameters": 1000,
        "images_per_second": 5200.0,
        "training_seconds": 123.4,
        "steps": 600,
        "metrics": {"recall_at_1": recall, "recall_at_2": 0.9, "map_at_r": 0.25, "nmi": 0.75}
        | {"mean_average_precision": 0.375},
        "intervals": {"recall_at_1": [recall - 0.06, recall + 0.05], "map_at_r": [0.2, 0.31]},
        "recall_curve": [[1, recall], [2, 0.9], [10, 0.95], [40, 1.0]],
    }
    return fields | changes


def run_results(teacher=0.8, baseline=0.5, student=0.629):
    """Results of a run with the networks whose Recall@1 is given."""
    networks = {}
    if teacher is not None:
        model = {"name": "resnet18", "width": 32}
        cost = {"model": model, "parameters": 8100, "images_per_second": 1000.0}
        networks["teacher"] = network(teacher, **cost)
    if baseline is not None:
        networks["baseline"] = network(baseline)
    if student is not None:
        networks["student"] = network(student)
        if baseline is not None:
            found = {"difference": student - baseline, "low": 0.025, "high": 0.2, "p_value": 0.034}
            networks["student"]["difference"] = {"recall_at_1": found}
        if teacher is not None:
            agreement = {"overlap_at_1": 0.25, "overlap_at_10": 0.5, "kendall_tau_at_10": -0.125}
            networks["student"]["agreement"] = agreement
            networks["student"]["teacher_gallery"] = {"recall_at_1": 0.375}
        if teacher is not None and baseline is not None:
            gap = (student - baseline) / (teacher - baseline) if teacher > baseline else None
            networks["student"]["gap_recovered"] = {"recall_at_1": gap, "map_at_r": -0.125}
    dataset = {
        "source": "glyphs",
        "split": "test",
        "images": IMAGES,
        "queries": IMAGES,
        "classes": CLASSES,
    }
    return {
        "schema": 2,
        "name": "demo",
        "seed": 3,
        "dataset": dataset,
        "devices": "4 x cpu",
        "networks": networks,
    }


def values_of(embeddings, labels):
    """Recall@1 and MAP@R of every query by a slow loop."""
    recall, map_at_r = [], []
    for query, found in enumerate(slow_neighbors(embeddings, range(len(labels)), len(labels) - 1)):
        hits = labels[found] == labels[query]
        count = hits.sum()
        places = np.arange(1, count + 1)
        precision = np.cumsum(hits[:count]) / places * hits[:count]
        recall.append(float(hits[0]))
        map_at_r.append(precision.sum() / count if count else np.nan)
    return {"recall_at_1": np.array(recall), "map_at_r": np.array(map_at_r)}


def slow_neighbors(embeddings, queries, k):
    """Sorts all others by distance in float64, one query after the other."""
    lists = []
    for query in queries:
        others = [i for i in range(len(embeddings)) if i != query]
        distances = ((embeddings.astype(np.float64) - embeddings[query]) ** 2).sum(axis=1)
        lists.append(sorted(others, key=distances.__getitem__)[:k])
    return np.array(lists)


def measured_set(names, channels=1, **changes):
    """Images with embeddings by the networks named, in clusters, each a little differently."""
    generator = np.random.default_rng(7)
    labels = np.arange(IMAGES, dtype=np.int32) % CLASSES
    centres = generator.normal(size=(CLASSES, 5))
    images = generator.integers(0, 256, (IMAGES, 9, 7, channels), dtype=np.uint8)
    embeddings = {
        name: (centres[labels] + generator.normal(size=(IMAGES, 5))).astype(np.float32)
        for name in names
    }
    values = {name: values_of(array, labels) for name, array in embeddings.items()}
    class_names = tuple(f"class {i}" for i in range(CLASSES))
    return Measured(labels, class_names, embeddings, values, images)._replace(**changes)


def curves_of(names):
    """Learning curves of the networks named."""
    rows = [{"step": 10, "loss": 3.0, "losses/triplet": 3.0}, {"step": 20, "loss": 1.5}]
    rows.append({"step": 20, "validation/recall_at_1": 0.125})
    return dict.fromkeys(names, rows)


class Page(HTMLParser):
    """Reads a page and asserts that every element is closed in order; keeps tags and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.names, self.text, self.attributes = [], [], "", []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in {"img", "meta", "link", "wbr"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def all(self, name):
        return [attributes for tag, attributes in self.attributes if tag == name]


def written(folder, results, measured=None, curves=None):
    path = folder / "report.html"
    names = list(results["networks"])
    shown = {"test": measured_set(names)} if measured is None else measured
    write_report(
        path, results, measured=shown, curves=curves_of(names) if curves is None else curves
    )
    return path.read_text(encoding="utf-8")


# --- headline ---


@pytest.mark.parametrize(
    ("recalls", "words"),
    [
        (
            {},
            "The student has 1/8 of the teacher’s parameters, is 5.2 times as fast, and recovers "
            "43 % of the gap in Recall@1 between the same network trained alone (50.0 %) and the "
            "teacher (80.0 %) on 12 characters that no network trained on.",
        ),
        (
            {"student": 0.45},
            ", but is worse than the same network trained alone: Recall@1 of 45.0 % against 50.0 %",
        ),
        ({"student": 0.5}, ", but is no better than the same network trained alone: both have"),
        (
            {"student": 0.85},
            "and is better than the same network trained alone: Recall@1 of 85.0 % against 50.0 %, "
            "and better than the teacher, at 80.0 %,",
        ),
        ({"teacher": 0.4}, "62.9 % against 50.0 %; the teacher, at 40.0 %, left no gap to recover"),
        ({"baseline": None}, "and reaches a Recall@1 of 62.9 % where the teacher reaches 80.0 %"),
        (
            {"teacher": None},
            "The student is better than the same network trained alone: Recall@1 of 62.9 % against",
        ),
        ({"teacher": None, "student": 0.4}, "The student is worse than the same network"),
        (
            {"student": None},
            "The baseline has 1/8 of the teacher’s parameters, is 5.2 times as fast",
        ),
        (
            {"baseline": None, "student": None},
            "The teacher reaches a Recall@1 of 80.0 % on 12 characters",
        ),
    ],
)
def test_the_headline_says_what_was_found(recalls, words):
    assert words.replace(" %", "\xa0%") in headline(run_results(**recalls))


def test_the_headline_takes_the_best_of_several_students_and_says_so():
    results = run_results()
    results["networks"]["soft"] = network(0.7, gap_recovered={"recall_at_1": 2 / 3})
    assert headline(results).startswith("The best of 2 students, soft, has 1/8")
    assert "recovers 67\xa0% of the gap" in headline(results)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parameters": 3375}, "has 42\xa0% of the teacher’s parameters"),
        ({"parameters": 16200}, "has 200\xa0% of the teacher’s parameters"),
        ({"images_per_second": 500.0}, "is slower (0.50 times as fast)"),
        ({"model": {"name": "resnet10", "width": 9}}, "between the baseline (50.0\xa0%)"),
    ],
)
def test_the_headline_does_not_flatter(changes, words):
    results = run_results()
    results["networks"]["student"] |= changes
    assert words in headline(results)


def test_the_headline_calls_training_classes_seen():
    results = run_results()
    results["dataset"] |= {"split": "train", "source": "cars196"}
    assert headline(results).endswith("on 12 classes of the training set.")


# --- the page ---


STRIPS = 12 * (1 + 3 * 5)  # one picture of each query and five neighbors under three networks
CHARTS = [
    *["Recall@1 in percent with its 95 % interval", "MAP@R in percent with its 95 % interval"],
    *["Recall@1 by images a second", "Recall@1 by parameters", "Recall at K in percent"],
    *["Overlap of the first K with the teacher’s", "Kendall’s tau within the teacher’s first K"],
    *["Distances by teacher", "Distances by baseline", "Distances by student"],
    *["Validation Recall@1", "Training loss", "Training loss", "Training loss"],
]
SECTIONS = [
    *["Results", "Speed against quality", "Recall by number of images", "Rank agreement"],
    *["Nearest images", "Map of embeddings", "Distances", "Worst classes", "Learning curves"],
    "Settings",
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
    assert "default-src 'none'" in text
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
    assert f"script-src 'sha256-{digest}'" in text


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


@settings(deadline=None, max_examples=50)
@given(text=st.text())
def test_text_and_attributes_survive_the_round_trip(text):
    text = text.replace("\r", "").replace("\0", "")
    page = Page(tag("p", text, title=text))
    assert page.text == text
    assert page.all("p") == [{"title": text}]


def test_class_names_that_are_no_unicode_do_not_stop_the_page(tmp_path):
    measured = measured_set(run_results()["networks"], class_names=("\udcff",) * CLASSES)
    assert "Query: <bdi>?</bdi>" in written(tmp_path, run_results(), {"test": measured})


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
    with pytest.raises(
        UserError, match=r"report\.html: the report cannot be written \(.*--workdir"
    ):
        written(tmp_path, run_results())
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(UserError, match="No such file"):
        written(tmp_path / "absent", run_results())


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


# --- table ---


def cells(results):
    """The texts of the table's rows, by their groups and headings."""
    rows, group = {}, ""
    for row in re.findall(r"<tr.*?</tr>", results_section(results)):
        first, *values = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)
        values = [re.sub(r"<small>(.*?)</small>", r" | \1", value) for value in values]
        group = first if 'class="group"' in row else group
        rows[group, first] = values
    return rows


def test_the_table_holds_every_number():
    rows = cells(run_results())
    assert rows["Quality, in %", "Recall@1"] == [
        "80.0 | 74.0–85.0",
        "50.0 | 44.0–55.0",
        "62.9 | 56.9–67.9",
    ]
    assert rows["Quality, in %", "NMI"] == ["75.0"] * 3
    lead = ["", "", "+12.9 | +2.5 to +20.0 | p = .034"]
    assert rows["Lead over the baseline, in points", "Recall@1"] == lead
    assert rows["Gap recovered", "Recall@1"] == ["", "", "43\xa0%"]
    assert rows["Gap recovered", "MAP@R"] == ["", "", "−12\xa0%"]
    assert rows["Cost", "Parameters"] == ["8,100", "1,000", "1,000"]
    assert rows["Cost", "Images/s"] == ["1,000", "5,200", "5,200"]
    assert rows["Cost", "Steps"] == ["600"] * 3
    assert rows["Cost", "Training time"] == ["2.1\xa0min"] * 3


def test_the_table_has_a_dash_where_there_was_no_gap_and_no_group_without_gaps():
    assert cells(run_results(teacher=0.4))["Gap recovered", "Recall@1"] == ["", "", "–"]
    assert "Gap recovered" not in results_section(run_results(baseline=None))


# --- curves ---


def points_of(section):
    return [
        [tuple(map(float, point.split(","))) for point in line.split()]
        for line in re.findall(r'polyline points="([^"]*)"', section)
    ]


def test_a_curve_is_drawn_to_scale():
    rows = [{"step": s, "loss": v} for s, v in [(0, 5.0), (50, 1.0), (100, 4.0)]]
    (line,) = points_of(curves_section({"student": rows}))
    (x0, y0), (x1, y1), (x2, y2) = line
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    # Downwards on the page is positive: the fall is 4 and the rise 3 parts.
    assert (y1 - y0) / (y1 - y2) == pytest.approx(4 / 3, rel=0.01)


def test_values_that_are_not_numbers_are_left_out_of_curves():
    losses = [2.0, float("nan"), None, float("inf"), 1.0]
    rows = [{"step": 10 * i, "loss": loss} for i, loss in enumerate(losses)]
    (line,) = points_of(curves_section({"student": rows}))
    assert len(line) == 2
    assert curves_section({"student": rows[1:4]}) == ""


def test_a_long_curve_is_averaged_in_blocks():
    rows = [{"step": step, "loss": float(step % 2)} for step in range(1000)]
    (line,) = points_of(curves_section({"student": rows}))
    assert len(line) == 200
    # Blocks of five hold two or three ones.
    heights = {y for _, y in line}
    assert len(heights) == 2


def test_a_curve_of_one_point_or_of_zeros_is_drawn():
    for rows in ([{"step": 1, "loss": 2.0}], [{"step": 0, "loss": 0.0}, {"step": 0, "loss": 0.0}]):
        (line,) = points_of(curves_section({"student": rows}))
        assert np.isfinite(line).all()


# --- charts ---


@pytest.mark.parametrize(("low", "high"), [(0.3, 7.0), (1, 100), (46714, 708144), (5, 5), (1, 1e7)])
def test_a_log_axis_encloses_its_values_and_puts_equal_ratios_equally_far(low, high):
    axis = log_axis(low, high, (0, 400))
    assert axis.ticks[0] <= low <= high <= axis.ticks[-1]
    assert 2 <= len(axis.ticks) <= 12
    middle = np.sqrt(axis.ticks[0] * axis.ticks[-1])
    assert axis.place(middle) == pytest.approx(200, abs=0.1)
    assert (axis.place(axis.ticks[0]), axis.place(axis.ticks[-1])) == (0, 400)


@pytest.mark.parametrize(("low", "high"), [(0.3, 7.0), (-2, 1), (0, 0), (5, 5)])
def test_a_linear_axis_encloses_its_values(low, high):
    axis = linear_axis(low, high, (240, 0))
    assert axis.ticks[0] <= low <= high <= axis.ticks[-1]
    assert (axis.place(axis.ticks[0]), axis.place(axis.ticks[-1])) == (240, 0)


def test_the_recall_curve_and_its_whiskers_are_drawn_to_scale():
    row = network(0.5) | {"recall_curve": [[1, 0.5], [10, 0.75], [100, 1.0]]}
    row["intervals"] = {"recall_at_1": [0.4, 0.6], "map_at_r": [0, 1]}
    section = recall_section({"student": row})
    ((x0, y0), (x1, y1), (x2, y2)), *_ = points_of(section)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    ((low, high),) = re.findall(r'y1="([\d.]+)" y2="([\d.]+)" class="whisker', section)
    # The whisker is 20 points long and the curve rises by 50.
    assert (float(low) - float(high)) / (y0 - y2) == pytest.approx(0.4, rel=0.01)
    assert "student: from 50.0 at 1 to 100.0 at 100." in section
    assert recall_section({"student": row | {"recall_curve": []}}) == ""


def test_speed_against_quality_needs_two_networks_with_a_cost():
    networks = run_results()["networks"]
    section = tradeoff_section(networks)
    assert "teacher 80.0\xa0% at 1,000; baseline 50.0\xa0% at 5,200" in section
    assert section.count('class="mark-point') == 2 * (3 + 3)  # the key has them too
    assert tradeoff_section({"student": networks["student"]}) == ""


def test_agreement_is_drawn_by_length_of_list():
    results = run_results()
    section = agreement_section(results, cast_of(results["networks"]))
    assert "student: 25 at 1, 50 at 10." in section
    assert "student: -0.125 at 10." in section
    assert "K of 59" in section
    assert "student reaches a Recall@1 of 37.5\xa0%" in section
    alone = run_results(teacher=None)
    assert agreement_section(alone, cast_of(alone["networks"])) == ""


# --- distances ---


def slow_equal_error(same, other):
    """Tries every threshold."""
    rates = []
    for threshold in sorted({*same, *other}):
        missed = Fraction(sum(d > threshold for d in same), len(same))
        taken = Fraction(sum(d <= threshold for d in other), len(other))
        rates.append((abs(missed - taken), threshold, (missed + taken) / 2))
    _, threshold, rate = min(rates)
    return threshold, float(rate)


@settings(deadline=None, max_examples=40)
@given(
    same=st.lists(st.integers(0, 9).map(float), min_size=1, max_size=9),
    other=st.lists(st.integers(3, 14).map(float), min_size=1, max_size=9),
)
def test_the_equal_error_rate_equals_a_slow_loop(same, other):
    threshold, rate = equal_error(np.array(same), np.array(other))
    expected = slow_equal_error(same, other)
    assert (threshold, rate) == pytest.approx(expected)


def test_distances_are_of_pairs_of_the_same_and_of_different_classes():
    """Two classes: pairs of one class are 1 apart, pairs of two classes 10 or more."""
    labels = np.array([0, 1, 0, 1, 2])
    embeddings = np.array([[0.0], [10.0], [1.0], [11.0], [30.0]])
    measured = Measured(labels, ("a", "b", "c"), {"student": embeddings}, {})
    section = distances_section(measured, ["student"], seed=0)
    assert "The median of same class is 1." in section
    assert "equal error rate 0.0\xa0% at 1" in section
    alone = measured._replace(labels=np.arange(5), class_names=tuple("abcde"))
    assert distances_section(alone, ["student"], seed=0) == ""


# --- the map ---


def test_the_map_takes_whole_classes_but_no_single_image():
    labels = np.array([0, 1, 1, 2, 2, 2, 3, 3])
    chosen = choose(labels, points=100, seed=3)
    assert sorted(chosen.tolist()) == [1, 2, 3, 4, 5, 6, 7]
    few = choose(labels, points=1, seed=3)
    assert len(set(labels[few])) == 1
    assert len(choose(np.zeros(50, int), points=100, seed=0)) == 20


def test_the_map_keeps_neighbours_together_and_fills_the_square():
    labels = np.repeat(np.arange(4), 20)
    embeddings = 50 * np.eye(4)[labels] + np.random.default_rng(0).normal(size=(80, 4))
    places = layout(embeddings, seed=0)
    assert places.min(axis=0).tolist() == [0, 0]
    assert places.max(axis=0).tolist() == [1, 1]
    assert values_of(places, labels)["recall_at_1"].mean() == 1
    np.testing.assert_array_equal(layout(np.ones((9, 3)), seed=0), 0.5)


def test_a_point_of_the_map_tells_its_image():
    measured = measured_set(["teacher", "student"])
    section = map_section(measured, ["teacher", "student"], seed=1)
    chosen = choose(measured.labels, 480, seed=1)
    points = re.findall(
        r'aria-label="(class \d+), nearest image (right|wrong)" data-image', section
    )
    assert len(points) == 2 * IMAGES
    for network, half in (("teacher", points[:IMAGES]), ("student", points[IMAGES:])):
        verdicts = measured.right(network)[chosen]
        assert [verdict == "right" for _, verdict in half] == verdicts.tolist()
        assert [name for name, _ in half] == [measured.class_name(i) for i in chosen.tolist()]
    # The keyboard enters each map once.
    assert section.count('tabindex="0"') == 2
    assert map_section(measured._replace(labels=np.arange(IMAGES)), ["student"], seed=1) == ""


# --- worst classes ---


def test_the_worst_class_comes_first_with_what_it_is_taken_for():
    labels = np.array([0, 0, 1, 1, 2, 2, 3])
    places = np.array([0.0, 1.0, 50.0, 90.0, 52.0, 53.0, 49.0])
    embeddings = {"student": places[:, None]}
    values = {"student": values_of(embeddings["student"], labels)}
    images = np.zeros((7, 4, 4, 1), np.uint8)
    measured = Measured(labels, tuple("abcd"), embeddings, values, images)
    section = classes_section(measured, Cast("student"))
    rows = [re.sub("<[^>]*>", " ", row).split() for row in re.findall("<tr>.*?</tr>", section)]
    # b: its image at 50 is nearest to 49 of class d, that at 90 to 53 of class c.
    assert rows[1][:4] == ["b", "2", "0.0", "0.0"]
    assert rows[1][4:] in (["c", "1", "of", "2"], ["d", "1", "of", "2"])
    assert rows[2:] == [["a", "2", "100.0", "100.0", "–"], ["c", "2", "100.0", "100.0", "–"]]


# --- neighbors ---


@settings(deadline=None, max_examples=30)
@given(
    embeddings=hnp.arrays(np.float32, st.just((14, 3)), elements=st.integers(-9, 9).map(float)),
    k=st.sampled_from([1, 6, 20]),
)
def test_neighbors_equal_a_slow_loop(embeddings, k):
    """Whole numbers make both exact, so ties and duplicates count; which of a tie is left open."""
    queries = np.arange(len(embeddings))[::-1]
    measured = Measured(np.arange(14) % 2, ("a", "b"), {"student": embeddings}, {})
    found = neighbors_of(measured, "student", queries, k)
    expected = slow_neighbors(embeddings, queries, k)
    assert found.shape == expected.shape
    for query, ours, theirs in zip(queries, found, expected, strict=True):
        assert query not in ours
        assert len(set(ours)) == len(ours)
        distances = ((embeddings - embeddings[query]) ** 2).sum(axis=1)
        np.testing.assert_array_equal(distances[ours], distances[theirs])


def paired(classes):
    """Places six classes of two far apart, the pairs of some together and those of others apart."""
    labels = np.repeat(np.arange(6), 2)
    places = 100.0 * labels
    split = [i for i in range(12) if labels[i] not in classes]
    places[split[1::2]] = [places[i] + 1000 * (i + 1) for i in split[1::2]]
    return np.stack([places, np.zeros(12)], axis=1).astype(np.float32)


def titles_and_queries(measured, cast, queries=12):
    """The headings of the section's groups, and the classes of the queries that each shows."""
    section = neighbors_section(measured, cast, queries)
    titles = re.findall(r"<h3><bdi>(.*?)</bdi> <span class=\"note\">(.*?)</span>", section)
    parts = section.split("<h3>")[1:]
    return titles, [re.findall(r"Query: <bdi>(.*?)</bdi>", part) for part in parts]


def test_queries_are_sorted_into_groups_by_who_is_right():
    embeddings = {
        "teacher": paired([0, 1, 2, 5]),
        "baseline": paired([0, 3]),
        "student": paired([0, 1, 4]),
    }
    labels = np.repeat(np.arange(6), 2)
    values = {name: values_of(array, labels) for name, array in embeddings.items()}
    images = np.zeros((12, 4, 4, 1), np.uint8)
    measured = Measured(labels, tuple("abcdef"), embeddings, values, images)
    titles, groups = titles_and_queries(measured, Cast("student", "teacher", "baseline"))
    assert titles == [
        ("teacher right, student wrong", "4 of 12 queries"),
        ("student right, teacher wrong", "2 of 12 queries"),
        ("student and teacher right, baseline wrong", "2 of 12 queries"),
    ]
    assert [set(group) for group in groups] == [{"c", "f"}, {"e"}, {"b"}]


def test_the_queries_that_differ_most_come_first():
    measured = measured_set(["teacher", "student"])
    labels = measured.labels
    scores = {name: measured.values[name]["map_at_r"] for name in ("teacher", "student")}
    right = {name: measured.values[name]["recall_at_1"] > 0 for name in scores}
    lost = np.flatnonzero(right["teacher"] & ~right["student"])
    gaps = scores["teacher"] - scores["student"]
    order = sorted(lost, key=lambda i: (-gaps[i], i))
    # One query of each class, before any second.
    first = list(dict.fromkeys(f"class {labels[i]}" for i in order))
    _, (shown, _) = titles_and_queries(measured, Cast("student", "teacher"))
    assert len(shown) == 6
    assert shown[: len(first)] == first[:6]


def test_a_run_alone_shows_both_its_faults_and_its_hits():
    titles, (wrong, right) = titles_and_queries(measured_set(["student"]), Cast("student"))
    assert [title for title, _ in titles] == ["student wrong", "student right"]
    section = neighbors_section(measured_set(["student"]), Cast("student"))
    assert "two networks" not in section
    assert "the wrong ones with the lowest MAP@R are shown, and the right ones with the" in section
    # Enough classes for all: none is shown twice.
    assert len(set(wrong)) == len(set(right)) == 6


def test_a_group_that_is_short_leaves_its_places_to_the_others():
    labels = np.arange(40) % 2
    embeddings = np.stack([labels, labels], axis=1).astype(np.float32)
    values = {"student": {"recall_at_1": np.ones(40), "map_at_r": np.ones(40)}}
    measured = Measured(labels, ("c0", "c1"), {"student": embeddings}, values)
    _, (wrong, right) = titles_and_queries(measured, Cast("student"))
    assert wrong == []
    assert len(right) == 12
    assert set(right[:2]) == {"c0", "c1"}
    _, groups = titles_and_queries(
        measured._replace(
            embeddings={"teacher": embeddings, "student": embeddings},
            values={"teacher": values["student"], "student": values["student"]},
        ),
        Cast("student", "teacher"),
    )
    assert groups == [[], []]


def test_an_image_alone_in_its_class_is_no_query():
    labels = np.array([0, 0, 1, 1, 2])
    embeddings = np.eye(5, dtype=np.float32)
    values = {"student": values_of(embeddings, labels)}
    measured = Measured(labels, ("c0", "c1", "c2"), {"student": embeddings}, values)
    _, (wrong, right) = titles_and_queries(measured, Cast("student"))
    assert sorted(wrong + right) == ["c0", "c0", "c1", "c1"]


def test_pictures_show_only_networks_with_embeddings():
    measured = measured_set(["teacher", "student"])
    section = neighbors_section(measured, Cast("student", "teacher", "baseline"))
    rows = re.findall(r'<th scope="row"><bdi>(.*?)</bdi>', section)
    assert set(rows) == {"teacher", "student"}
    assert neighbors_section(measured, Cast("better", "teacher")) == ""


# --- comparison ---


def three_runs():
    """Runs of one teacher: two seeds of one student, and another student that is better."""
    runs = {}
    for name, seed, student, loss in [
        ("a", 0, 0.5, "triplet"),
        ("b", 1, 0.54, "triplet"),
        ("c", 0, 0.7, "darkrank_soft"),
    ]:
        runs[name] = run_results(baseline=0.4 + seed / 100, student=student)
        runs[name] |= {"name": name, "seed": seed}
        runs[name]["networks"]["student"]["losses"] = {loss: {"weight": 1.0}}
    return runs


def test_a_comparison_names_the_best_and_lists_a_shared_network_once():
    combined = combine(three_runs())
    names = ["a/teacher", "a/baseline", "a/student", "b/baseline", "b/student", "c/student"]
    assert list(combined["networks"]) == names
    assert combined["subjects"] == ["a/student", "b/student", "c/student"]
    sentence = comparison_headline(combined)
    assert sentence == (
        "Of 3 runs’ students, c/student is best, with a Recall@1 of 70.0\xa0% on 12 characters "
        "that no network trained on: +20.0 points against a/student."
    )
    found = {"difference": 0.2, "low": 0.125, "high": 0.25, "p_value": 0.01}
    combined["networks"]["c/student"]["difference"] = {"recall_at_1": found}
    assert "+20.0 points (+12.5 to +25.0) against a/student" in comparison_headline(combined)
    runs = three_runs()
    del runs["c"]
    runs["b"]["networks"]["student"]["metrics"]["recall_at_1"] = 0.25
    found = comparison_headline(combine(runs))
    # The baseline of the second run, which is worse than the best student.
    assert found == (
        "No other student is better than a/student, with a Recall@1 of 50.0\xa0% on 12 characters "
        "that no network trained on; b/student has 25.0\xa0%."
    )


def test_a_comparison_does_not_hide_that_baselines_are_better():
    runs = three_runs()
    for name, recall in (("a", 0.6), ("b", 0.72), ("c", 0.71)):
        runs[name]["networks"]["baseline"] = network(recall)
    combined = combine(runs)
    better = " Better still is b/baseline, trained alone, with 72.0\xa0%."
    assert comparison_headline(combined).endswith(f"against a/student.{better}")
    del runs["c"]
    runs["b"]["networks"]["student"]["metrics"]["recall_at_1"] = 0.25
    assert comparison_headline(combine(runs)).endswith(f"b/student has 25.0\xa0%.{better}")


def test_runs_of_one_network_each_are_called_networks():
    runs = three_runs()
    for name, recall in (("a", 0.6), ("b", 0.7), ("c", 0.2)):
        runs[name]["networks"] = {"network": network(recall)}
    assert comparison_headline(combine(runs)).startswith("Of 3 runs’ networks, b/network is best,")


def test_seeds_of_one_config_are_put_together():
    section = seeds_section(combine(three_runs())["networks"])
    rows = [re.sub("<[^>]*>", " ", row).split() for row in re.findall("<tr>.*?</tr>", section)]
    (row,) = (row for row in rows if row[0] == "student")
    # .50 and .54: mean 52, standard deviation 2.8; leads of .10 and .13 over the baselines.
    assert row[:9] == ["student", "a,", "b", "2", "0,", "1", "52.0", "±", "2.8"]
    assert row[-6:-3] == ["+11.5", "±", "2.1"]
    runs = three_runs()
    del runs["b"]
    assert seeds_section(combine(runs)["networks"]) == ""


def test_the_page_of_a_comparison_is_whole(tmp_path):
    combined = combine(three_runs())
    names = list(combined["networks"])
    path = tmp_path / "report.html"
    measured = {"test": measured_set(names, class_names=(ATTACK,) * CLASSES)}
    write_comparison(path, ATTACK, {"test": combined}, measured=measured, curves=curves_of(names))
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert re.findall(r"<h2 [^>]*>(.*?)</h2>", text) == ["Results", "Over seeds", *SECTIONS[1:]]
    assert page.names.count("script") == 1
    titles = re.findall(r"<h3><bdi>(.*?)</bdi>", text)
    assert titles[0] == "a/teacher right, c/student wrong"
    assert titles[2] == "c/student and a/teacher right, a/student wrong"
    # The baselines are in the charts above the table, which are of Recall@1 and MAP@R.
    charts = [svg["aria-label"] for svg in page.all("svg") if svg.get("role") == "img"]
    for chart in charts[:5]:
        assert [name for name in names if name in chart] == names, chart
    write_comparison(path, "x", {"test": combined}, measured={}, curves={})
    bare = path.read_text(encoding="utf-8")
    assert "Nearest images" not in bare


def test_queries_search_the_gallery_alone():
    """Of five images the first two search; the class of the second is not in the gallery."""
    measured = Measured(
        np.array([0, 1, 0, 2, 0]),
        ("a", "b", "c"),
        {"student": np.array([[0.0], [0.1], [5.0], [1.0], [2.0]])},
        {},
        queries=np.array([True, True, False, False, False]),
    )
    assert measured.matched().tolist() == [True, False, False, False, False]
    found = neighbors_of(measured, "student", np.array([1, 0]), k=2)
    assert found.tolist() == [[3, 4], [3, 4]]
    # No more than the gallery has.
    assert neighbors_of(measured, "student", np.array([0]), k=9).tolist() == [[3, 4, 2]]
