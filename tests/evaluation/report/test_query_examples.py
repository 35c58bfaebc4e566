"""Which queries are shown, and what each network finds for them."""

import re

import numpy as np
import pytest

from darkrank_jax.evaluation.report import Measured
from darkrank_jax.evaluation.report.compared_networks import ComparedNetworks
from darkrank_jax.evaluation.report.measured import neighbors_of, ranked_lists, verdicts_of
from darkrank_jax.evaluation.report.page import picture_sections
from darkrank_jax.evaluation.report.query_examples import neighbors_section
from tests.evaluation.report.made import measured_set, values_of


def paired(classes):
    """Places six classes of two far apart, the pairs of some together and those of others apart."""
    labels = np.repeat(np.arange(6), 2)
    places = 100.0 * labels
    split = [i for i in range(12) if labels[i] not in classes]
    places[split[1::2]] = [places[i] + 1000 * (i + 1) for i in split[1::2]]
    return np.stack([places, np.zeros(12)], axis=1).astype(np.float32)


def titles_and_queries(measured, compared, queries=12):
    """The headings of the section's groups, and the classes of the queries that each shows."""
    section = neighbors_section(measured, compared, queries)
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
    titles, groups = titles_and_queries(
        measured, ComparedNetworks("student", "teacher", "baseline")
    )
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
    _, (shown, _) = titles_and_queries(measured, ComparedNetworks("student", "teacher"))
    assert len(shown) == 6
    assert shown[: len(first)] == first[:6]


def test_a_run_alone_shows_both_its_faults_and_its_hits():
    titles, (wrong, right) = titles_and_queries(
        measured_set(["student"]), ComparedNetworks("student")
    )
    assert [title for title, _ in titles] == ["student wrong", "student right"]
    section = neighbors_section(measured_set(["student"]), ComparedNetworks("student"))
    assert "two networks" not in section
    assert "the wrong ones with the lowest MAP@R are shown, and the right ones with the" in section
    # Enough classes for all: none is shown twice.
    assert len(set(wrong)) == len(set(right)) == 6


def test_a_group_that_is_short_leaves_its_places_to_the_others():
    labels = np.arange(40) % 2
    embeddings = np.stack([labels, labels], axis=1).astype(np.float32)
    values = {"student": {"recall_at_1": np.ones(40), "map_at_r": np.ones(40)}}
    measured = Measured(labels, ("c0", "c1"), {"student": embeddings}, values)
    _, (wrong, right) = titles_and_queries(measured, ComparedNetworks("student"))
    assert wrong == []
    assert len(right) == 12
    assert set(right[:2]) == {"c0", "c1"}
    _, groups = titles_and_queries(
        measured._replace(
            embeddings={"teacher": embeddings, "student": embeddings},
            values={"teacher": values["student"], "student": values["student"]},
        ),
        ComparedNetworks("student", "teacher"),
    )
    # Where no query tells the networks apart, those that the student has right stand for all.
    assert [len(group) for group in groups] == [0, 12]


def test_an_image_alone_in_its_class_is_no_query():
    labels = np.array([0, 0, 1, 1, 2])
    embeddings = np.eye(5, dtype=np.float32)
    values = {"student": values_of(embeddings, labels)}
    measured = Measured(labels, ("c0", "c1", "c2"), {"student": embeddings}, values)
    _, (wrong, right) = titles_and_queries(measured, ComparedNetworks("student"))
    assert sorted(wrong + right) == ["c0", "c0", "c1", "c1"]


def test_pictures_show_only_networks_with_embeddings():
    measured = measured_set(["teacher", "student"])
    section = neighbors_section(measured, ComparedNetworks("student", "teacher", "baseline"))
    rows = re.findall(r'<th scope="row"><bdi>(.*?)</bdi>', section)
    assert set(rows) == {"teacher", "student"}
    assert neighbors_section(measured, ComparedNetworks("better", "teacher")) == ""


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


def people(seed=5):
    """Eight persons by three cameras, some unknown; a third of the images are queries."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 8, 48)
    points = rng.normal(size=(8, 4))[labels] + rng.normal(size=(48, 4))
    values = {"student": values_of(points, labels)}
    images = np.zeros((48, 4, 2, 1), np.uint8)
    names = tuple(f"person {i}" for i in range(8))
    cameras, queries = rng.integers(-1, 3, 48), rng.random(48) < 0.3
    return Measured(labels, names, {"student": points}, values, images, cameras, queries)


def slow_list(measured, query):
    """All of the gallery by distance, but the query's class by the query's camera."""
    points, gallery = measured.embeddings["student"], np.flatnonzero(measured.searched())
    order = sorted(gallery, key=lambda i: ((points[i] - points[query]) ** 2).sum())
    person, camera = measured.labels[query], measured.cameras[query]
    return [
        i
        for i in order
        if i != query
        and not (measured.labels[i] == person and measured.cameras[i] == camera and camera != -1)
    ]


@pytest.mark.parametrize("with_queries", [True, False])
def test_ranked_lists_leave_out_a_persons_images_by_the_querys_camera(with_queries):
    measured = people()
    measured = measured if with_queries else measured._replace(queries=None)
    queries = np.flatnonzero(measured.searching())
    found = ranked_lists(measured, "student", queries, k=9)
    expected = [slow_list(measured, query)[:9] for query in queries]
    assert [each.tolist() for each in found] == expected
    verdicts = verdicts_of(measured)
    hits = [np.isin(measured.labels[slow_list(measured, q)], measured.labels[q]) for q in queries]
    assert verdicts.matched[queries].tolist() == [bool(each.any()) for each in hits]
    matched = [place for place, each in enumerate(hits) if each.any()]
    right = verdicts.right["student"][queries[matched]]
    assert right.tolist() == [bool(hits[place][0]) for place in matched]
    precision = [
        np.mean([(n + 1) / (rank + 1) for n, rank in enumerate(np.flatnonzero(hits[place]))])
        for place in matched
    ]
    np.testing.assert_allclose(verdicts.scores["student"][queries[matched]], precision, atol=1e-6)


def test_a_gallery_shows_ten_images_of_each_list_and_says_what_is_left_out():
    measured = people()
    section = neighbors_section(measured, ComparedNetworks("student"))
    assert "own camera are left out" in section
    strips = re.findall(r"<tbody>(.*?)</tbody>", section)
    assert strips
    assert {strip.count("<td") for strip in strips} == {10}
    titles = [each.title for each in picture_sections(measured, ComparedNetworks("student"), 0, 1)]
    assert titles[0] == "Ranked lists"
