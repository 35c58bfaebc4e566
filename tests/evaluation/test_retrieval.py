import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation import retrieval
from darkrank_jax.evaluation.retrieval import retrieval_metrics, retrieval_values
from tests.evaluation.golden import check_golden, golden_cases
from tests.references import evaluation as reference

KS = (1, 2, 3, 5)


@pytest.fixture
def data():
    """Classes of 1 to 9 images, somewhat apart."""
    rng = np.random.default_rng(11)
    labels = rng.permutation(np.repeat(np.arange(9), np.arange(1, 10))) * 7 - 3
    return (rng.normal(size=(45, 5)) + 0.2 * labels[:, None]).astype(np.float32), labels


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


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_agrees_with_loops_over_a_gallery(seed):
    """Of other classes too: some queries have no match, some images no query."""
    rng = np.random.default_rng(seed)
    # One class of four images, so that one shape is compiled.
    labels, known = rng.integers(-3, 3, size=7), rng.integers(-4, 2, size=11)
    labels[0], known[:4], known[4:] = 5, 5, np.arange(7) % 3 - rng.integers(2)
    queries, gallery = (rng.integers(-2, 3, size=(n, 2)).astype(np.float32) for n in (7, 11))
    expected = reference.retrieval(queries, labels, KS, gallery, known)
    found = retrieval_metrics(queries, labels, ks=KS, gallery=gallery, gallery_labels=known)
    assert found == pytest.approx(expected, abs=1e-12)


def test_values_are_those_of_each_query_and_nan_where_it_is_left_out(data):
    embeddings, labels = data
    values, means = retrieval_values(embeddings, labels), retrieval_metrics(embeddings, labels)
    (alone,) = np.flatnonzero(labels == -3)
    assert {name: np.flatnonzero(np.isnan(column)).tolist() for name, column in values.items()} == {
        name: [] if name.startswith("recall") else [alone] for name in values
    }
    assert values["recall_at_8"][alone] == 0
    assert means == pytest.approx(
        {name: np.nanmean(column) for name, column in values.items()} | {"queries_alone": 1.0}
    )
    searched = retrieval_values(
        embeddings[:3], labels[:3], gallery=embeddings[3:], gallery_labels=np.full(42, 99)
    )
    assert all(np.isnan(column).all() for column in searched.values())


def test_neither_the_order_of_rows_nor_the_size_of_tiles_counts(data, monkeypatch):
    embeddings, labels = (np.concatenate([part, part[:20]]) for part in data)
    labels[-20:-10] += 1
    expected = retrieval_metrics(embeddings, labels, ks=KS)
    order = np.random.default_rng(0).permutation(len(labels))
    assert retrieval_metrics(embeddings[order], labels[order], ks=KS) == pytest.approx(expected)
    monkeypatch.setattr(retrieval, "QUERIES", 7)
    assert retrieval_metrics(embeddings, labels, ks=KS) == expected


@pytest.fixture
def small_parts(monkeypatch):
    """Little at once, so that few images are what many are otherwise."""
    for name, size in {"QUERIES": 7, "COUNTED": 2, "WIDTH": 4}.items():
        monkeypatch.setattr(retrieval, name, size)
    retrieval.positive_ranks.clear_cache()
    yield
    retrieval.positive_ranks.clear_cache()


@pytest.mark.parametrize("step", [0.0, 0.7])
def test_large_classes_beside_small_ones(data, small_parts, step):
    """Sorted instead of counted; also where many are at the same distance."""
    embeddings, labels = data
    if step:
        embeddings = (embeddings / step).round()
    expected = reference.retrieval(embeddings.astype(np.float64), labels, KS)
    assert retrieval_metrics(embeddings, labels, ks=KS) == pytest.approx(expected, abs=1e-12)


def test_the_largest_class_costs_the_queries_of_others_nothing(data, small_parts):
    embeddings, labels = data
    shapes = []

    def values_of(ranks, totals):
        shapes.append(ranks.shape)
        return {"first": ranks[:, 0]}

    labels = np.where(labels > 30, 99, np.arange(45))
    retrieval.values_of_ranks(values_of, embeddings, labels, embeddings, labels, exclude_self=True)
    largest = np.sum(labels == 99)
    assert shapes[0] == (7, 4)
    assert shapes[-1][1] == largest > 8


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
        (lambda e, n: (e, n[:-2]), "labels: must have a value for each of 45 embeddings (got 43)"),
        (lambda e, n: (e[:0], n[:0]), "embeddings: must have at least one row (got none)"),
        (
            lambda e, n: (e, 0 * n),
            "labels: all 45 embeddings are of one class, so that every answer is right; give two "
            "classes or more",
        ),
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


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"gallery": np.ones((4, 5))}, "gallery: goes with gallery_labels; give both or neither"),
        (
            {"gallery": np.ones((4, 3)), "gallery_labels": np.arange(4)},
            "dimensions differ (queries 5, gallery 3); give embeddings of one space",
        ),
        (
            {"gallery": np.ones((4, 5)), "gallery_labels": np.arange(3)},
            "gallery_labels: must have a value for each of 4 gallery images (got 3)",
        ),
        (
            {"gallery": np.full((4, 5), np.nan), "gallery_labels": np.arange(4)},
            "gallery: 4 of 4 rows hold NaN or infinity, first row 0; lower the learning rate, or "
            "see what makes the network diverge",
        ),
        ({"ks": (0,)}, "ks: must be numbers of answers, 1 or more (got 0)"),
    ],
)
def test_a_gallery_that_cannot_be_searched_is_refused(data, options, line):
    with pytest.raises(UserError) as error:
        retrieval_values(*data, **options)
    assert str(error.value) == line


def test_zero_vectors_are_embeddings_like_others(data):
    embeddings, labels = data
    embeddings = np.where(np.arange(45)[:, None] < 4, 0, embeddings)
    expected = reference.retrieval(embeddings.astype(np.float64), labels, KS)
    assert retrieval_metrics(embeddings, labels, ks=KS) == pytest.approx(expected)


def golden_retrieval(arrays):
    ks = (1, 2, 4, 8, 16, 32)
    found = retrieval_metrics(arrays["embeddings"], arrays["labels"], ks=ks)
    renamed = {"mean_average_precision_at_r": found["map_at_r"]}
    return {"value": [found[f"recall_at_{k}"] for k in ks]} | found | renamed


@golden_cases("retrieval")
def test_agrees_with_other_implementations(case):
    check_golden(case, golden_retrieval)
