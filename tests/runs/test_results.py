import json

import numpy as np
import pytest

from darkrank_jax.errors import UserError
from darkrank_jax.runs.results import (
    METRICS,
    OF_QUERIES,
    gap_recovered,
    measure,
    table,
    write_results,
)

NETWORKS = {
    name: {
        "parameters": parameters,
        "images_per_second": speed,
        "metrics": dict.fromkeys(METRICS, score),
    }
    for name, parameters, speed, score in [
        ("teacher", 1_234_567, 812.4, 0.8),
        ("baseline", 98_765, 5321.0, 0.5),
        ("student", 98_765, 5400.0, 0.62),
    ]
}


def test_gap_recovered_is_a_share_of_the_teachers_lead():
    teacher, baseline = {"a": 0.9, "b": 0.3, "c": 0.4}, {"a": 0.5, "b": 0.6, "c": 0.4}
    student = {"a": 0.4, "b": 0.7, "c": 0.5}
    shares = gap_recovered(teacher, baseline, student)
    assert shares["a"] == pytest.approx(-0.25)
    # Where the teacher does not lead there is no gap to recover.
    assert shares["b"] is None
    assert shares["c"] is None


def test_table_has_a_line_a_network_and_equal_columns():
    networks = NETWORKS | {"student": NETWORKS["student"] | {"gap_recovered": {"recall_at_1": 0.4}}}
    lines = table(networks).split("\n")
    assert [line.split()[0] for line in lines[1:]] == ["teacher", "baseline", "student"]
    assert lines[1].split()[1:4] == ["1,234,567", "812", "0.800"]
    assert lines[0].endswith("  gap recovered in R@1")
    assert lines[3].endswith("40%")
    assert lines[1].index("0.800") == lines[2].index("0.500") == lines[3].index("0.620")


def test_results_are_replaced_whole(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_results(path, {"networks": object()})
    assert path.read_text() == "old"
    write_results(path, {"schema": 1})
    assert json.loads(path.read_text()) == {"schema": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_stored_embeddings_have_no_cost_in_the_table():
    stored = {"student": {"metrics": dict.fromkeys(METRICS, 0.5)}}
    (_, line) = table(stored).split("\n")
    assert line.split() == ["student", *["0.500"] * 6]


@pytest.fixture(scope="module")
def measured():
    """Rows and values of three networks that differ, and what they were made of."""
    generator = np.random.default_rng(5)
    labels = np.repeat(np.arange(8), 5)
    centres = generator.normal(size=(8, 6))
    embeddings = {
        name: (centres[labels] + noise * generator.normal(size=(40, 6))).astype(np.float32)
        for name, noise in [("teacher", 0.5), ("baseline", 2.0), ("student", 1.0)]
    }
    cameras = np.arange(40) % 3
    return *measure(embeddings, labels, seed=3, cameras=cameras), embeddings, labels


def test_metrics_are_the_means_of_the_values_and_lie_in_their_intervals(measured):
    rows, values, _, _ = measured
    for name, row in rows.items():
        assert tuple(row["metrics"]) == METRICS
        assert set(row["intervals"]) == set(OF_QUERIES)
        for metric, (low, high) in row["intervals"].items():
            assert row["metrics"][metric] == values[name][metric].mean()
            assert low <= row["metrics"][metric] <= high
        curve = dict(row["recall_curve"])
        assert curve[4] == row["metrics"]["recall_at_4"]
        assert max(curve) < 40
        assert list(curve.values()) == sorted(curve.values())


def test_students_are_compared_with_baseline_and_teacher(measured):
    rows, values, _, _ = measured
    assert "difference" not in rows["teacher"] | rows["baseline"]
    found = rows["student"]["difference"]["map_at_r"]
    gap = values["student"]["map_at_r"].mean() - values["baseline"]["map_at_r"].mean()
    assert found["difference"] == pytest.approx(gap)
    assert found["low"] < gap < found["high"]
    assert set(rows["student"]["gap_recovered"]) == set(METRICS)
    assert "agreement" not in rows["teacher"]
    overlap = {name: rows[name]["agreement"]["overlap_at_5"] for name in ("baseline", "student")}
    assert overlap["baseline"] < overlap["student"] < 1
    # Lists of 50 cannot be had of 40 images.
    assert "overlap_at_50" not in rows["student"]["agreement"]
    assert set(rows["student"]["teacher_gallery"]) >= {"recall_at_1", "recall_at_8"}


def test_networks_come_in_the_order_of_their_parts(measured):
    _, _, embeddings, labels = measured
    given = ("student", "b", "a", "teacher", "baseline")
    rows, values = measure(
        {n: embeddings.get(n, embeddings["student"]) for n in given}, labels, seed=3
    )
    assert list(rows) == list(values) == ["teacher", "baseline", "student", "b", "a"]


def test_with_cameras_an_image_is_sought_by_the_others_only(measured):
    rows, _, embeddings, labels = measured
    cameras, points = np.arange(40) % 3, embeddings["student"].astype(np.float64)
    hits = []
    for query in range(40):
        junk = (labels == labels[query]) & (cameras == cameras[query])
        if (labels[~junk] == labels[query]).any():
            distances = np.linalg.norm(points - points[query], axis=1)
            distances[junk] = np.inf
            hits.append(labels[distances.argmin()] == labels[query])
    assert rows["student"]["reid"]["cmc_at_1"] == pytest.approx(np.mean(hits))


def test_an_image_of_unknown_camera_finds_all_others_and_not_itself(measured):
    _, _, embeddings, labels = measured
    points = embeddings["student"].astype(np.float64)
    cameras = np.where(np.arange(40) % 4 < 2, -1, np.arange(40) % 3)
    hits = []
    for query in range(40):
        junk = (labels == labels[query]) & (cameras == cameras[query]) & (cameras != -1)
        junk[query] = True
        if (labels[~junk] == labels[query]).any():
            distances = np.linalg.norm(points - points[query], axis=1)
            distances[junk] = np.inf
            hits.append(labels[distances.argmin()] == labels[query])
    rows, _ = measure(embeddings, labels, seed=3, cameras=cameras)
    assert rows["student"]["reid"]["cmc_at_1"] == pytest.approx(np.mean(hits))
    assert 0 < np.mean(hits) < 1


def test_queries_search_the_gallery_and_nothing_else(measured):
    _, _, embeddings, labels = measured
    queries, cameras = np.arange(40) % 5 < 2, np.arange(40) % 3
    rows, values = measure(embeddings, labels, seed=3, cameras=cameras, queries=queries)
    points, gallery = embeddings["student"].astype(np.float64), np.flatnonzero(~queries)
    hits, across = [], []
    for query in np.flatnonzero(queries):
        order = gallery[np.argsort(np.linalg.norm(points[gallery] - points[query], axis=1))]
        hits.append(labels[order[0]] == labels[query])
        junk = (labels[order] == labels[query]) & (cameras[order] == cameras[query])
        if (labels[order][~junk] == labels[query]).any():
            across.append(labels[order][~junk][0] == labels[query])
    assert np.isnan(values["student"]["recall_at_1"]).tolist() == (~queries).tolist()
    assert values["student"]["recall_at_1"][queries].tolist() == hits
    assert rows["student"]["metrics"]["recall_at_1"] == np.mean(hits)
    assert rows["student"]["recall_curve"][0] == [1, np.mean(hits)]
    assert rows["student"]["reid"]["cmc_at_1"] == pytest.approx(np.mean(across))


def test_an_error_names_the_network():
    embeddings = {"student": np.full((4, 2), np.nan)}
    with pytest.raises(UserError, match=r"^student: embeddings: 4 of 4 rows hold NaN"):
        measure(embeddings, np.array([0, 0, 1, 1]), seed=0)
