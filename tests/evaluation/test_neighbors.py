import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation import neighbors as module
from darkrank_jax.evaluation.neighbors import nearest_neighbors
from tests.references import evaluation as reference


@pytest.fixture
def gallery():
    return np.random.default_rng(1).normal(size=(23, 4)).astype(np.float32) + 40


@pytest.fixture(scope="module")
def many():
    """Enough rows that the best of a tile are found by blocks."""
    return np.random.default_rng(5).normal(size=(1500, 6)).astype(np.float32)


@pytest.mark.parametrize("tile", [(256, 16384), (5, 7)])
@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_agrees_with_loops_whatever_the_tile(gallery, exclude_self, tile, metric, monkeypatch):
    monkeypatch.setattr(module, "CPU_TILE", tile)
    rows = gallery - 40 if metric == "cosine" else gallery
    queries = rows if exclude_self else rows[:9] * 1.01 + 0.1
    options = {"k": 6, "exclude_self": exclude_self, "metric": metric}
    distances, indices = nearest_neighbors(queries, rows, **options)
    expected = np.array(reference.nearest(queries, rows, 6, exclude_self, metric))
    np.testing.assert_array_equal(indices, expected[..., 1])
    np.testing.assert_allclose(distances, expected[..., 0], atol=1e-5)


def test_neither_tiles_nor_devices_nor_passes_nor_the_order_of_rows_count(many, monkeypatch):
    queries = many[:40] + 0.01
    expected, places = nearest_neighbors(queries, many, k=4)
    squares = ((queries[:, None] - many) ** 2).sum(axis=2)
    np.testing.assert_array_equal(places, squares.argsort(axis=1)[:, :4])
    order = np.random.default_rng(0).permutation(1500)
    distances, indices = nearest_neighbors(queries, many[order], k=4)
    np.testing.assert_array_equal(order[indices], places)
    np.testing.assert_array_equal(distances, expected)
    monkeypatch.setattr(module, "CPU_TILE", (17, 1024))
    monkeypatch.setattr(module, "PASS", 30)
    for count in (1, 3):
        found = nearest_neighbors(queries, many, k=4, devices=jax.devices()[:count])
        np.testing.assert_array_equal(found[0], expected)
        np.testing.assert_array_equal(found[1], places)


def test_the_query_of_a_later_pass_is_left_out_too(many, monkeypatch):
    expected = nearest_neighbors(many[:90], many[:90], k=3, exclude_self=True)
    assert not np.any(expected[1] == np.arange(90)[:, None])
    monkeypatch.setattr(module, "PASS", 40)
    found = nearest_neighbors(many[:90], many[:90], k=3, exclude_self=True)
    np.testing.assert_array_equal(found[1], expected[1])


def test_duplicates_are_found_at_distance_zero_first_row_first(gallery):
    twice = jnp.asarray(np.concatenate([gallery, gallery]))
    distances, indices = nearest_neighbors(twice, twice, k=1, exclude_self=True)
    np.testing.assert_array_equal(indices[:, 0], np.roll(np.arange(46), 23))
    np.testing.assert_array_equal(distances, 0)
    _, indices = nearest_neighbors(gallery, twice, k=2)
    np.testing.assert_array_equal(indices, np.arange(23)[:, None] + [0, 23])


def test_of_many_at_one_point_the_first_rows_are_found():
    """More than are looked at beyond k, and enough that blocks are chosen among equals."""
    points = np.repeat(np.array([[1.0, 2.0], [3.0, 1.0]], np.float32), 800, axis=0)
    _, indices = nearest_neighbors(points[[900]], points, k=3, devices=jax.devices()[:1])
    np.testing.assert_array_equal(indices, [[800, 801, 802]])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("within", [1e-2, 1e-3, 1e-4])
def test_of_many_nearly_at_one_point_the_nearest_are_found(
    within, exclude_self, metric, monkeypatch
):
    """More than are looked at beyond k, and nearer to each other than inner products can tell."""
    monkeypatch.setattr(module, "EXACT_TILE", (50, 97))
    rng = np.random.default_rng(2)
    points = np.repeat(rng.normal(size=(6, 16)), 40, axis=0) + within * rng.normal(size=(240, 16))
    points = points.astype(np.float32)
    options = {"k": 5, "exclude_self": exclude_self, "metric": metric}
    distances, indices = nearest_neighbors(points, points, **options)
    exact = points.astype(np.float64)
    if metric == "cosine":
        exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    gaps = np.linalg.norm(exact[:, None] - exact, axis=2)
    if exclude_self:
        gaps[np.eye(240, dtype=bool)] = np.inf
    nearest = np.argsort(gaps, axis=1)[:, :5]
    expected = np.take_along_axis(gaps, nearest, axis=1)
    found = np.take_along_axis(gaps, indices, axis=1)
    # Float32 may swap what it rounds to one distance, of unit vectors as well.
    rounding = 1e-7 if metric == "cosine" else 1e-6 * within
    np.testing.assert_allclose(found, expected, rtol=0, atol=rounding)
    assert np.mean(indices == nearest) > 0.99
    expected = expected**2 / 2 if metric == "cosine" else expected
    np.testing.assert_allclose(distances, expected, rtol=1e-2, atol=1e-9)


def test_directions_of_tiny_rows(gallery):
    rows = gallery - 40
    expected = nearest_neighbors(rows, rows, k=3, metric="cosine")
    # By a power of 2, so that nothing but the size differs.
    tiny = rows * np.float32(2.0**-90)
    found = nearest_neighbors(tiny, tiny, k=3, metric="cosine")
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_far_from_the_origin_float64_is_taken_at_its_word(gallery):
    moved = gallery.astype(np.float64) + 1e7
    _, indices = nearest_neighbors(moved, moved, k=5, exclude_self=True)
    expected = np.array(reference.nearest(gallery, gallery, 5, True))[..., 1]
    np.testing.assert_array_equal(indices, expected)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"k": 0}, "k: must be 1 to 23, the rows to be found (got 0)"),
        ({"k": 24}, "k: must be 1 to 23, the rows to be found (got 24)"),
        ({"k": 23, "exclude_self": True}, "k: must be 1 to 22, the rows to be found (got 23)"),
        ({"k": 2, "exclude_self": True}, "exclude_self: 9 queries are not the 23 rows"),
        ({"k": 2, "metric": "cosin"}, "metric: 'cosin' is none; did you mean 'cosine'?"),
    ],
)
def test_what_cannot_be_found_is_refused(gallery, arguments, line):
    with pytest.raises(UserError) as error:
        nearest_neighbors(gallery[:9], gallery, **arguments)
    assert str(error.value).startswith(line)


@pytest.mark.parametrize(
    ("queries", "value", "options", "line"),
    [
        (3, np.nan, {}, "gallery: 1 of 23 rows hold NaN or infinity, first row 21"),
        (3, 1e30, {}, "gallery: the squares of some rows exceed float32; divide all embeddings"),
        (3, 0.0, {"metric": "cosine"}, "gallery: 1 of 23 rows are zero and have no direction"),
        (23, 0.0, {"metric": "cosine"}, "queries: 1 of 23 rows are zero and have no direction"),
        (23, np.inf, {}, "queries: 1 of 23 rows hold NaN or infinity, first row 21"),
        (0, 1.0, {}, "queries: must have at least one row (got none)"),
    ],
)
def test_rows_without_a_distance_are_refused(gallery, queries, value, options, line):
    gallery[21] = value
    with pytest.raises(UserError) as error:
        nearest_neighbors(gallery[:queries], gallery, k=2, **options)
    assert str(error.value).startswith(line)


def test_zero_vectors_have_euclidean_distances(gallery):
    gallery[21] = 0
    _, indices = nearest_neighbors(np.zeros((1, 4), np.float32), gallery, k=1)
    assert indices.tolist() == [[21]]


def test_spaces_of_other_dimension_are_refused(gallery):
    with pytest.raises(UserError, match=r"dimensions differ \(queries 3, gallery 4\)"):
        nearest_neighbors(gallery[:, :3], gallery, k=2)
