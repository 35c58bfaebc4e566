import numpy as np
import pytest

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation import neighbors, reranking
from darkrank_jax.evaluation.reranking import rerank
from tests.references import evaluation as reference


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(8)
    centres = rng.normal(size=(9, 5))
    return [
        (centres[rng.integers(9, size=n)] + 0.4 * rng.normal(size=(n, 5))).astype(np.float32)
        for n in (13, 50)
    ]


@pytest.mark.parametrize(("k1", "k2", "weight"), [(20, 6, 0.3), (7, 1, 0.0), (5, 4, 0.8)])
def test_agrees_with_loops(data, k1, k2, weight):
    found = rerank(*data, k1=k1, k2=k2, weight=weight)
    expected = reference.reranked(*data, k1, k2, weight)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_neither_tiles_nor_the_order_of_rows_nor_size_and_origin_count(data, monkeypatch):
    queries, gallery = data
    expected = rerank(queries, gallery)
    monkeypatch.setattr(reranking, "ROWS", 5)
    monkeypatch.setattr(reranking, "SQUARE", 17)
    monkeypatch.setattr(reranking, "PAIRS", 11)
    monkeypatch.setattr(neighbors, "CPU_TILE", (7, 16))
    order = np.random.default_rng(0).permutation(50)
    found = rerank(3 * queries + 20, 3 * gallery[order] + 20)
    np.testing.assert_allclose(found, expected[:, order], atol=2e-6)


def test_duplicates_and_embeddings_at_one_point_have_distances(data):
    queries, gallery = data
    twice = np.concatenate([np.repeat(gallery[:1], 30, axis=0), gallery])
    assert np.isfinite(rerank(queries, twice, k1=5, k2=3)).all()
    assert np.isfinite(rerank(np.ones((3, 2)), np.ones((40, 2)), k1=5, k2=3)).all()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"k1": 63}, "k1: must be 1 to 62, the other images (got 63)"),
        ({"k1": 3}, "k2: must be 1 to k1 + 1, which is 4 (got 6)"),
        ({"weight": 1.5}, "weight: must be 0 to 1 (got 1.5)"),
    ],
)
def test_what_is_out_of_range_is_refused(data, options, line):
    with pytest.raises(UserError) as error:
        rerank(*data, **options)
    assert str(error.value) == line
