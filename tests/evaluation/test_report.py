"""The report: what it says, that it is whole, and that data cannot become markup."""

import base64
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.report import headline, write_report
from darkrank_jax.evaluation.report.curves import curves_section
from darkrank_jax.evaluation.report.markup import tag
from darkrank_jax.evaluation.report.neighbors import (
    Gallery,
    nearest_neighbors,
    neighbors_section,
)
from darkrank_jax.evaluation.report.table import results_section

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
        "metrics": {"recall_at_1": recall, "recall_at_2": 0.9, "map_at_r": 0.25, "nmi": 0.75},
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
        if teacher is not None and baseline is not None:
            gap = (student - baseline) / (teacher - baseline) if teacher > baseline else None
            networks["student"]["gap_recovered"] = {"recall_at_1": gap, "map_at_r": -0.125}
    dataset = {"source": "glyphs", "split": "test", "images": IMAGES, "classes": CLASSES}
    return {
        "schema": 1,
        "name": "demo",
        "seed": 3,
        "dataset": dataset,
        "devices": "4 x cpu",
        "networks": networks,
    }


def report_arguments(names, channels=1):
    """Everything but the results: images, embeddings of the networks named, and their curves."""
    generator = np.random.default_rng(7)
    labels = np.arange(IMAGES, dtype=np.int32) % CLASSES
    centres = generator.normal(size=(CLASSES, 5))
    rows = [{"step": 10, "loss": 3.0, "losses/triplet": 3.0}, {"step": 20, "loss": 1.5}]
    rows += [{"step": 20, "validation/recall_at_1": 0.125}]
    return {
        "images": generator.integers(0, 256, (IMAGES, 9, 7, channels), dtype=np.uint8),
        "labels": labels,
        "class_names": tuple(f"class {i}" for i in range(CLASSES)),
        "embeddings": {
            name: (centres[labels] + generator.normal(size=(IMAGES, 5))).astype(np.float32)
            for name in names
        },
        "curves": dict.fromkeys(names, rows),
    }


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
        if tag not in {"img", "meta", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def all(self, name):
        return [attributes for tag, attributes in self.attributes if tag == name]


def written(folder, results, **changes):
    path = folder / "report.html"
    write_report(path, results, **(report_arguments(results["networks"]) | changes))
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


@pytest.mark.parametrize("channels", [1, 3])
def test_the_page_is_whole_and_needs_nothing_else(tmp_path, channels):
    results = run_results()
    text = written(tmp_path, results, **report_arguments(results["networks"], channels))
    page = Page(text)
    assert [name for name in page.names if name in {"h1", "h2"}] == ["h1"] + ["h2"] * 4
    assert headline(results) in page.text
    assert not re.search(r"https?://|<script|@import|url\(", text)
    assert "default-src 'none'" in text
    assert text.isascii() or 'charset="utf-8"' in text
    assert len(text) < 3e6
    # One picture of each query and five neighbors under each of three networks.
    pictures = page.all("img")
    assert len(pictures) == 12 * (1 + 3 * 5)
    assert all(picture["alt"] for picture in pictures)
    assert page.names.count("caption") == page.names.count("table") == 1 + 12
    # Validation of all networks, and the loss of each.
    charts = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    assert [chart["aria-label"].split(",")[0] for chart in charts] == [
        "Validation Recall@1",
        *["Training loss"] * 3,
    ]
    assert "student: from 3 at step 10 to 1.5 at step 20." in charts[-1]["aria-label"]


def test_pictures_are_the_images_pixel_for_pixel(tmp_path):
    results = run_results()
    arguments = report_arguments(results["networks"], channels=3)
    pictures = Page(written(tmp_path, results, **arguments)).all("img")
    originals = {
        image.tobytes(): label
        for image, label in zip(arguments["images"], arguments["labels"], strict=True)
    }
    query = None
    for picture in pictures:
        data = base64.b64decode(picture["src"].removeprefix("data:image/png;base64,"))
        label = originals[np.asarray(Image.open(io.BytesIO(data))).tobytes()]
        if picture["alt"].startswith("Query"):
            query = label
            assert picture["alt"] == f"Query: class {label}"
        else:
            verdict = "right" if label == query else "wrong"
            assert re.fullmatch(rf"[1-5]\. class {label}, {verdict}", picture["alt"])


def test_large_photographs_are_reduced_and_keep_their_form(tmp_path):
    results = run_results(teacher=None, baseline=None)
    images = np.full((IMAGES, 256, 128, 3), 90, np.uint8)
    pictures = Page(written(tmp_path, results, images=images)).all("img")
    assert {(p["width"], p["height"]) for p in pictures} == {("32", "64")}


def test_every_text_from_data_is_escaped(tmp_path):
    results = run_results()
    results |= {"name": ATTACK, "devices": ATTACK}
    results["dataset"]["source"] = ATTACK
    student = results["networks"].pop("student")
    student["losses"] = {ATTACK: {ATTACK: ATTACK}}
    student["model"] = {"name": ATTACK, ATTACK: ATTACK}
    student["metrics"][ATTACK] = 0.5
    student["gap_recovered"][ATTACK] = 0.5
    results["networks"][ATTACK] = student
    page = Page(written(tmp_path, results, class_names=(ATTACK + '" onerror="x',) * CLASSES))
    assert "script" not in page.names
    assert not any("onerror" in attributes for _, attributes in page.attributes)
    assert page.text.count(ATTACK) > 30
    assert all(ATTACK in picture["alt"] for picture in page.all("img"))


@settings(deadline=None, max_examples=50)
@given(text=st.text())
def test_text_and_attributes_survive_the_round_trip(text):
    text = text.replace("\r", "").replace("\0", "")
    page = Page(tag("p", text, title=text))
    assert page.text == text
    assert page.all("p") == [{"title": text}]


def test_class_names_that_are_no_unicode_do_not_stop_the_page(tmp_path):
    names = ("\udcff",) * CLASSES
    assert "Query: <bdi>?</bdi>" in written(tmp_path, run_results(), class_names=names)


def test_the_same_input_gives_the_same_bytes(tmp_path):
    assert written(tmp_path, run_results()) == written(tmp_path, run_results())


@pytest.mark.parametrize("absent", ["embeddings", "curves"])
def test_a_section_without_data_is_left_out(tmp_path, absent):
    heading = {"embeddings": "Nearest images", "curves": "Learning curves"}[absent]
    assert heading in Page(written(tmp_path, run_results())).text
    assert heading not in Page(written(tmp_path, run_results(), **{absent: {}})).text


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
    written(tmp_path, run_results(), class_names=(ATTACK,) * CLASSES)
    page = tmp_path / "report.html"
    flags = (
        "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --enable-logging=stderr --dump-dom"
    )
    command = ["chromium", *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "CONSOLE" not in done.stderr
    assert Page(done.stdout).names.count("img") == 12 * 16


# --- table ---


def cells(results):
    """The texts of the table's rows, by their groups and headings."""
    rows, group = {}, ""
    for row in re.findall(r"<tr.*?</tr>", results_section(results)):
        first, *values = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)
        group = first if 'class="group"' in row else group
        rows[group, first] = values
    return rows


def test_the_table_holds_every_number():
    rows = cells(run_results())
    assert rows["Quality, in %", "Recall@1"] == ["80.0", "50.0", "62.9"]
    assert rows["Quality, in %", "NMI"] == ["75.0"] * 3
    assert rows["Gap recovered", "Recall@1"] == ["", "", "43\xa0%"]
    assert rows["Gap recovered", "MAP@R"] == ["", "", "−12\xa0%"]
    assert rows["Cost", "Parameters"] == ["8,100", "1,000", "1,000"]
    assert rows["Cost", "Images/s"] == ["1,000", "5,200", "5,200"]
    assert rows["Cost", "Steps"] == ["600"] * 3
    assert rows["Cost", "Training time"] == ["2.1\xa0min"] * 3


def test_the_table_has_a_dash_where_there_was_no_gap_and_no_group_without_gaps():
    assert cells(run_results(teacher=0.4))["Gap recovered", "Recall@1"] == ["", "", "–"]
    assert "Gap recovered" not in results_section(run_results(baseline=None))


def test_the_note_states_the_standard_error():
    # 100 sqrt(.629 * .371 / 60) = 6.24
    assert "about 6.2 points" in results_section(run_results())


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


# --- neighbors ---


def slow_neighbors(embeddings, queries, k):
    """Sorts all others by distance in float64, one query after the other."""
    lists = []
    for query in queries:
        others = [i for i in range(len(embeddings)) if i != query]
        distances = ((embeddings.astype(np.float64) - embeddings[query]) ** 2).sum(axis=1)
        lists.append(sorted(others, key=distances.__getitem__)[:k])
    return np.array(lists)


@settings(deadline=None, max_examples=30)
@given(
    embeddings=hnp.arrays(
        np.float32,
        st.tuples(st.integers(2, 14), st.just(3)),
        elements=st.integers(-9, 9).map(float),
    ),
    k=st.integers(1, 6),
)
def test_neighbors_equal_a_slow_loop(embeddings, k):
    """Whole numbers make both exact, so ties and duplicates count; which of a tie is left open."""
    queries = np.arange(len(embeddings))[::-1]
    found, expected = (
        nearest_neighbors(embeddings, queries, k),
        slow_neighbors(embeddings, queries, k),
    )
    assert found.shape == expected.shape
    for query, ours, theirs in zip(queries, found, expected, strict=True):
        assert query not in ours
        assert len(set(ours)) == len(ours)
        distances = ((embeddings - embeddings[query]) ** 2).sum(axis=1)
        np.testing.assert_array_equal(distances[ours], distances[theirs])


def test_neighbors_of_more_queries_than_a_block():
    embeddings = np.random.default_rng(1).normal(size=(300, 4)).astype(np.float32)
    queries = np.arange(299, -1, -1)
    expected = slow_neighbors(embeddings, queries, 3)
    np.testing.assert_array_equal(nearest_neighbors(embeddings, queries, 3), expected)


def test_queries_are_sorted_into_groups_by_who_is_right():
    """Six classes of two images; each network sees the pairs of some classes together."""
    labels = np.repeat(np.arange(6), 2)
    images = np.zeros((12, 4, 4, 1), np.uint8)
    gallery = Gallery(images, labels, tuple("abcdef"))

    def paired(classes):
        """Places the classes far apart, and splits the pairs of the others."""
        places = np.array([100.0 * label for label in range(6)]).repeat(2)
        split = [i for i in range(12) if labels[i] not in classes]
        places[split[1::2]] = [places[i] + 1000 * (i + 1) for i in split[1::2]]
        return np.stack([places, np.zeros(12)], axis=1).astype(np.float32)

    embeddings = {
        "teacher": paired([0, 1, 2, 5]),
        "baseline": paired([0, 3]),
        "student": paired([0, 1, 4]),
    }
    section = neighbors_section(run_results(), gallery, embeddings)
    titles = re.findall(r"<h3><bdi>(.*?)</bdi> <span class=\"note\">(.*?)</span>", section)
    assert titles == [
        ("student right, baseline wrong", "4 of 12 queries"),
        ("student wrong, baseline right", "2 of 12 queries"),
        ("student and baseline wrong, teacher right", "4 of 12 queries"),
    ]
    groups = [set(re.findall(r"Query: <bdi>(.)</bdi>", part)) for part in section.split("<h3>")[1:]]
    assert groups == [{"b", "e"}, {"d"}, {"c", "f"}]


def shown(results, labels, embeddings):
    """The class names of the queries that the section shows, group by group."""
    names = tuple(f"c{i}" for i in range(labels.max() + 1))
    gallery = Gallery(np.zeros((len(labels), 2, 2, 1), np.uint8), labels, names)
    section = neighbors_section(results, gallery, embeddings)
    return [re.findall(r"Query: <bdi>(.*?)</bdi>", part) for part in section.split("<h3>")[1:]]


def test_a_run_alone_shows_both_its_faults_and_its_hits():
    embeddings = report_arguments(["student"])["embeddings"]
    results = run_results(teacher=None, baseline=None)
    wrong, right = shown(results, np.arange(IMAGES) % CLASSES, embeddings)
    assert (len(wrong), len(right)) == (6, 6)
    # Enough classes for all: none is shown twice.
    assert len(set(wrong)) == len(set(right)) == 6


def test_a_group_that_is_short_leaves_its_places_to_the_others():
    labels = np.arange(40) % 2
    embeddings = np.stack([labels, labels], axis=1).astype(np.float32)
    results = run_results(teacher=None, baseline=None)
    wrong, right = shown(results, labels, {"student": embeddings})
    assert wrong == []
    assert len(right) == 12
    assert set(right[:2]) == {"c0", "c1"}


def test_networks_without_a_difference_show_no_query():
    labels = np.arange(40) % 2
    same = np.stack([labels, labels], axis=1).astype(np.float32)
    assert shown(
        run_results(), labels, dict.fromkeys(("teacher", "baseline", "student"), same)
    ) == [
        [],
        [],
        [],
    ]


def test_an_image_alone_in_its_class_is_no_query():
    labels = np.array([0, 0, 1, 1, 2])
    embeddings = np.eye(5, dtype=np.float32)
    results = run_results(teacher=None, baseline=None)
    wrong, right = shown(results, labels, {"student": embeddings})
    assert sorted(wrong + right) == ["c0", "c0", "c1", "c1"]


def test_pictures_show_only_networks_with_embeddings():
    results = run_results()
    results["networks"]["better"] = network(0.99, gap_recovered={"recall_at_1": 1.6})
    arguments = report_arguments(["teacher", "student"])
    gallery = Gallery(arguments["images"], arguments["labels"], arguments["class_names"])
    section = neighbors_section(results, gallery, arguments["embeddings"])
    rows = re.findall(r'<th scope="row"><bdi>(.*?)</bdi>', section)
    assert set(rows) == {"teacher", "student"}
