import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax.evaluation import kmeans as module
from darkrank_jax.evaluation.kmeans import kmeans

POINTS = np.random.default_rng(8).normal(size=(70, 3)).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_every_point_is_nearest_to_the_mean_of_its_own_cluster(seed):
    clusters, spread = kmeans(jnp.asarray(POINTS), num_clusters=5, key=jax.random.key(seed))
    clusters = np.asarray(clusters)
    means = np.stack([POINTS[clusters == each].mean(axis=0) for each in range(5)])
    squares = ((POINTS[:, None] - means) ** 2).sum(axis=-1)
    np.testing.assert_array_equal(clusters, squares.argmin(axis=1))
    assert float(spread) == pytest.approx(float(squares.min(axis=1).sum()), rel=1e-5)


def test_as_many_clusters_as_points_leave_no_distance():
    _, spread = kmeans(jnp.asarray(POINTS[:20]), num_clusters=20, key=jax.random.key(1))
    assert float(spread) == 0.0


def test_first_centres_prefer_far_points():
    """Three points far apart among many at one place: chance alone would miss them."""
    points = jnp.asarray(np.concatenate([np.zeros((200, 2)), 50 * np.eye(2), [[-50.0, 3]]]))
    _, spread = kmeans(points, num_clusters=4, key=jax.random.key(3))
    assert float(spread) == 0.0


def test_the_size_of_tiles_does_not_count(monkeypatch):
    expected = kmeans(jnp.asarray(POINTS), num_clusters=5, key=jax.random.key(2))
    kmeans.clear_cache()
    monkeypatch.setattr(module, "TILE", 5 * 16)
    found = kmeans(jnp.asarray(POINTS), num_clusters=5, key=jax.random.key(2))
    np.testing.assert_array_equal(found[0], expected[0])
    assert float(found[1]) == pytest.approx(float(expected[1]), rel=1e-6)
