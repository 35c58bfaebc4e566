import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation import retrieval
from darkrank_jax.evaluation.retrieval import retrieval_metrics
from tests.references import evaluation as reference

GOLDEN = Path(__file__).parent.parent / "golden"
CASES = json.loads((GOLDEN / "cases.json").read_text())["evaluation"]
KS = (1, 2, 3, 5)


@pytest.fixture
def data():
    """Classes of 1 to 9 images, somewhat apart."""
    rng = np.random.default_rng(11)
    labels = rng.permutation(np.repeat(np.arange(9), np.arange(1, 10))) * 7 - 3
    return (rng.normal(size=(45, 5)) + 0.2 * labels[:, None]).astype(np.float32), labels


@pytest.mark.parametrize("case", [name for name in CASES if name.startswith("retrieval")])
def test_agrees_with_another_implementation(case):
    golden = np.load(GOLDEN / "evaluation.npz")
    ks = (1, 2, 4, 8, 16, 32)
    found = retrieval_metrics(golden[f"{case}/embeddings"], golden[f"{case}/labels"], ks=ks)
    recalls = [found[f"recall_at_{k}"] for k in ks]
    np.testing.assert_allclose(recalls, golden[f"{case}/value"], rtol=1e-5)
    for ours, theirs in {
        "precision_at_1": "precision_at_1",
        "r_precision": "r_precision",
        "map_at_r": "mean_average_precision_at_r",
        "mean_average_precision": "mean_average_precision",
        "mean_reciprocal_rank": "mean_reciprocal_rank",
    }.items():
        assert found[ours] == pytest.approx(float(golden[f"{case}/{theirs}"]), rel=1e-5), ours


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(-2, 2), st.integers(0, 2)), min_size=1)
    .map(lambda rows: (rows * 12)[:12])
    .flatmap(st.permutations)
)
def test_agrees_with_loops_where_many_are_at_the_same_distance(rows):
    labels, embeddings = np.array(rows)[:, 0], np.array(rows)[:, 1:]
    assume(len(set(labels.tolist())) > 1)
    expected = reference.retrieval(embeddings, labels, KS)
    found = retrieval_metrics(embeddings.astype(np.float32), labels, ks=KS)
    assert found == pytest.approx(expected, abs=1e-12)


def test_neither_the_order_of_rows_nor_the_size_of_tiles_counts(data, monkeypatch):
    embeddings, labels = (np.concatenate([part, part[:20]]) for part in data)
    labels[-20:-10] += 1
    expected = retrieval_metrics(embeddings, labels, ks=KS)
    order = np.random.default_rng(0).permutation(len(labels))
    assert retrieval_metrics(embeddings[order], labels[order], ks=KS) == pytest.approx(expected)
    monkeypatch.setattr(retrieval, "_QUERIES", 7)
    assert retrieval_metrics(embeddings, labels, ks=KS) == expected


@pytest.mark.parametrize(("scale", "shift"), [(1e-12, 0.0), (1e25, 0.0), (1.0, 1e4)])
def test_size_and_origin_do_not_count(data, scale, shift):
    embeddings, labels = data
    expected = reference.retrieval(embeddings.astype(np.float64), labels, KS)
    moved = embeddings.astype(np.float64) * scale + shift
    assert retrieval_metrics(moved, labels, ks=KS) == pytest.approx(expected)


def test_a_duplicate_of_the_query_is_found():
    embeddings = np.array([[1.0, 2.0], [1.0, 2.0], [5.0, 1.0], [5.0, 1.5]], np.float32)
    found = retrieval_metrics(embeddings, np.array([0, 0, 1, 1]), ks=(1,))
    assert found["recall_at_1"] == found["map_at_r"] == 1.0


def test_embeddings_at_one_point_find_nothing(data):
    _, labels = data
    found = retrieval_metrics(np.full((45, 3), 0.7, np.float32), labels, ks=KS)
    assert [found[f"recall_at_{k}"] for k in KS] == [0.0] * 4
    assert found["map_at_r"] == 0.0


def test_queries_alone_miss_and_are_counted(data):
    embeddings, labels = data
    found = retrieval_metrics(embeddings, np.arange(45), ks=KS)
    assert found.pop("queries_alone") == 45.0
    assert set(found.values()) == {0.0}
    assert retrieval_metrics(embeddings, labels)["queries_alone"] == 1.0


def test_arrays_on_the_device_are_taken_too(data):
    embeddings, labels = data
    assert retrieval_metrics(jnp.asarray(embeddings), labels) == retrieval_metrics(*data)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda e, n: (e, n[:-2]), "labels: there are 43 for 45 embeddings; give one each"),
        (lambda e, n: (e[:0], n[:0]), "embeddings: there are none; give at least one row"),
        (
            lambda e, n: (np.where(np.arange(45)[:, None] % 20 == 4, np.nan, e), n),
            "embeddings: 3 of 45 rows hold NaN or infinity, first row 4; lower the learning rate, "
            "or see what makes the network diverge",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(data, change, line):
    with pytest.raises(UserError) as error:
        retrieval_metrics(*change(*data))
    assert str(error.value) == line
