import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation import nearest_neighbors as module
from darkrank_jax.evaluation.nearest_neighbors import nearest_neighbors
from tests.references import evaluation as reference


@pytest.fixture
def gallery():
    return np.random.default_rng(1).normal(size=(23, 4)).astype(np.float32) + 40


@pytest.mark.parametrize("tile", [2**25, 23 * 5, 1])
@pytest.mark.parametrize("exclude_self", [False, True])
def test_agrees_with_loops_whatever_the_tile(gallery, exclude_self, tile, monkeypatch):
    monkeypatch.setattr(module, "_TILE", tile)
    queries = gallery if exclude_self else gallery[:9] * 1.01
    distances, indices = nearest_neighbors(queries, gallery, k=6, exclude_self=exclude_self)
    expected = np.array(reference.nearest(queries, gallery, 6, exclude_self))
    np.testing.assert_array_equal(indices, expected[..., 1])
    np.testing.assert_allclose(distances, expected[..., 0], atol=1e-5)


def test_duplicates_are_found_at_distance_zero_first_row_first(gallery):
    twice = jnp.asarray(np.concatenate([gallery, gallery]))
    distances, indices = nearest_neighbors(twice, twice, k=1, exclude_self=True)
    np.testing.assert_array_equal(indices[:, 0], np.roll(np.arange(46), 23))
    np.testing.assert_array_equal(distances, 0)
    _, indices = nearest_neighbors(gallery, twice, k=2)
    np.testing.assert_array_equal(indices, np.arange(23)[:, None] + [0, 23])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"k": 0}, "k: is 0, of 23 to be found; give 1 to 23"),
        ({"k": 24}, "k: is 24, of 23 to be found; give 1 to 23"),
        ({"k": 23, "exclude_self": True}, "k: is 23, of 22 to be found; give 1 to 22"),
        ({"k": 2, "exclude_self": True}, "exclude_self: 9 queries are not the 23 rows"),
    ],
)
def test_what_cannot_be_found_is_refused(gallery, arguments, line):
    with pytest.raises(UserError) as error:
        nearest_neighbors(gallery[:9], gallery, **arguments)
    assert str(error.value).startswith(line)
