import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation import reid as module
from darkrank_jax.evaluation import retrieval
from darkrank_jax.evaluation.reid import (
    reid_means,
    reid_metrics,
    reid_values,
    reid_values_of_distances,
    single_shot_cmc,
)
from darkrank_jax.evaluation.reranking import rerank
from tests.evaluation.golden import check_golden, golden_cases
from tests.references import evaluation as reference

KS = (1, 2, 5)
NAMES = ("query_ids", "gallery_ids", "query_cameras", "gallery_cameras")


def people(rng, queries, gallery, ids=5, cameras=3):
    return {
        name: rng.integers(high, size=queries if name.startswith("query") else gallery) * 7 - 4
        for name, high in zip(NAMES, (ids, ids, cameras, cameras), strict=True)
    }


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    labels = people(rng, 19, 60)
    sets = [rng.normal(size=(count, 6)).astype(np.float32) + 30 for count in (19, 60)]
    return sets, labels


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_agrees_with_loops_where_many_are_at_the_same_distance(seed, from_distances):
    rng = np.random.default_rng(seed)
    labels = people(rng, 4, 12, ids=3, cameras=2)
    queries, gallery = (rng.integers(-2, 3, size=(n, 2)).astype(np.float32) for n in (4, 12))
    distances = reference.distances(queries, gallery)
    expected = reference.reid(distances, **labels, ks=KS)
    found = (
        reid_values_of_distances(distances, **labels, ks=KS)
        if from_distances
        else reid_values(queries, gallery, **labels, ks=KS)
    )
    assert found.keys() == expected.keys()
    for name, column in expected.items():
        np.testing.assert_allclose(found[name], column, rtol=1e-12, err_msg=name)


def test_neither_the_order_of_rows_nor_the_size_of_tiles_counts(data, monkeypatch):
    (queries, gallery), labels = data
    gallery[30:40] = gallery[:10]
    expected = reid_values(queries, gallery, **labels, ks=KS)
    order = np.random.default_rng(0).permutation(60)
    moved = {
        name: column[order] if name.startswith("gallery") else column
        for name, column in labels.items()
    }
    monkeypatch.setattr(retrieval, "QUERIES", 7)
    found = reid_values(queries, gallery[order], **moved, ks=KS)
    for name, column in expected.items():
        np.testing.assert_array_equal(found[name], column)


def test_means_leave_out_and_count_queries_without_a_match(data):
    (queries, gallery), labels = data
    labels["query_ids"][:4] = 999
    values = reid_values(queries, gallery, **labels, ks=KS)
    found = reid_metrics(queries, gallery, **labels, ks=KS)
    assert found == reid_means(values)
    assert found["queries_alone"] == np.isnan(values["average_precision"]).sum() >= 4
    assert found["mean_average_precision"] == pytest.approx(np.nanmean(values["average_precision"]))
    assert found["cmc_at_5"] == pytest.approx(np.nanmean(values["cmc_at_5"]))


def test_single_shot_is_the_mean_over_all_draws():
    """A gallery of 3, 1, 2 and 2 images of four people: twelve draws and no more."""
    rng = np.random.default_rng(4)
    labels = {
        "query_ids": np.array([10, 20, 30, 10, 50]),
        "gallery_ids": np.array([10, 20, 10, 30, 10, 40, 30, 40]),
        "query_cameras": np.array([0, 0, 1, 2, 0]),
        "gallery_cameras": np.array([0, 1, 1, 2, 1, 0, 1, 0]),
    }
    distances = rng.integers(0, 6, size=(5, 8)).astype(np.float32)
    found = single_shot_cmc(distances, **labels, ks=KS)
    expected = reference.single_shot(distances, **labels, ks=KS)
    assert found == pytest.approx(expected | {"queries_alone": 1.0})
    assert 0 < found["cmc_at_1"] < found["cmc_at_2"] < 1


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"gallery_ids": np.arange(59)},
            "gallery_ids: must have a value for each of 60 gallery images (got 59)",
        ),
        (
            {"query_cameras": np.arange(3)},
            "query_cameras: must have a value for each of 19 queries (got 3)",
        ),
        (
            {"query_ids": np.full(19, 99)},
            "gallery: none of 19 queries has an image of its identity",
        ),
        ({"ks": (0, 1)}, "ks: must be ranks of 1 or more (got 0)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(data, change, line):
    (queries, gallery), labels = data
    for measure, arrays in (
        (reid_metrics, (queries, gallery)),
        (single_shot_cmc, (reference.distances(queries, gallery),)),
    ):
        with pytest.raises(UserError) as error:
            measure(*arrays, **(labels | change))
        assert str(error.value).startswith(line)


def test_rows_that_are_not_finite_are_refused(data):
    (queries, gallery), labels = data
    gallery[7] = np.nan
    with pytest.raises(UserError, match="gallery: 1 of 60 rows hold NaN or infinity, first row 7"):
        reid_values(queries, gallery, **labels)
    distances = np.full((19, 60), np.inf, np.float32)
    with pytest.raises(UserError, match="distances: 19 of 19 rows hold NaN"):
        module.reid_values_of_distances(distances, **labels)


def with_unknown(rng, labels):
    """Labels of which some cameras are unknown, and the same with a camera of its own for each."""
    unknown, own = dict(labels), dict(labels)
    for start, name in ((1000, "query_cameras"), (2000, "gallery_cameras")):
        column = labels[name]
        hidden = rng.random(len(column)) < 0.5
        unknown[name] = np.where(hidden, -1, column)
        own[name] = np.where(hidden, start + np.arange(len(column)), column)
    return unknown, own


def test_unknown_cameras_leave_no_match_out():
    rng = np.random.default_rng(11)
    queries, gallery = (rng.normal(size=(n, 6)).astype(np.float32) for n in (19, 60))
    labels, own = with_unknown(rng, people(rng, 19, 60))
    distances = reference.distances(queries, gallery)
    expected = reference.reid(distances, **own, ks=KS)
    as_one = reference.reid(distances, **labels, ks=KS)["average_precision"]
    assert not np.allclose(as_one, expected["average_precision"], equal_nan=True)
    for found in (
        reid_values(queries, gallery, **labels, ks=KS),
        reid_values_of_distances(distances, **labels, ks=KS),
    ):
        for name, column in expected.items():
            np.testing.assert_allclose(found[name], column, rtol=1e-12, err_msg=name)


def test_unknown_cameras_leave_no_single_shot_out():
    rng = np.random.default_rng(12)
    labels, own = with_unknown(rng, people(rng, 6, 10, ids=3, cameras=2))
    distances = rng.random((6, 10))
    found = single_shot_cmc(distances, **labels, ks=KS)
    for name, value in reference.single_shot(distances, **own, ks=KS).items():
        assert found[name] == pytest.approx(value)


def golden_reid(arrays):
    people = {
        "query_ids": arrays["query_ids"],
        "gallery_ids": arrays["gallery_ids"],
        "query_cameras": arrays["query_cameras"],
        "gallery_cameras": arrays["gallery_cameras"],
    }
    sets = arrays["query"], arrays["gallery"]
    found = reid_metrics(*sets, **people, ks=range(1, 21))
    distances = rerank(*sets)
    again = reid_means(reid_values_of_distances(distances, **people, ks=range(1, 21)))
    return {
        "value": [found[f"cmc_at_{k}"] for k in range(1, 21)],
        "mean_average_precision": found["mean_average_precision"],
        "mean_inverse_negative_penalty": found["mean_inverse_negative_penalty"],
        "reranked_distances": distances,
        "reranked_cmc": [again[f"cmc_at_{k}"] for k in range(1, 21)],
        "reranked_mean_average_precision": again["mean_average_precision"],
    }


@golden_cases("reid")
def test_agrees_with_other_implementations(case):
    check_golden(case, golden_reid)
