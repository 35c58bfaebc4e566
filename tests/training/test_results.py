import json

import pytest

from darkrank_jax.training.results import METRICS, gap_recovered, table, write_results

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
