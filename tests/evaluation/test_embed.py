import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax.evaluation.embed import BATCH, embed_images, images_per_second


def network(seen):
    """Sums and largest values of images, under jit; notes each shape that it is compiled for."""

    @jax.jit
    def embed(images):
        seen.append(images.shape)
        numbers = images.astype(jnp.float32).reshape(len(images), -1)
        return jnp.stack([numbers.sum(axis=1), numbers.max(axis=1)], axis=1).astype(jnp.bfloat16)

    return embed


@pytest.mark.parametrize("count", [1, BATCH, 2 * BATCH + 37])
def test_every_image_is_embedded_in_order_with_one_compilation(count):
    images = np.random.default_rng(0).integers(0, 9, (count, 2, 3, 1), dtype=np.uint8)
    seen = []
    found = embed_images(network(seen), images)
    numbers = images.reshape(count, -1)
    np.testing.assert_array_equal(found, np.stack([numbers.sum(1), numbers.max(1)], axis=1))
    assert found.dtype == np.float32
    assert seen == [(BATCH, 2, 3, 1)]


def test_throughput_counts_whole_batches_after_the_compilation(monkeypatch):
    """By a clock that each call of the network moves on: first slow, then one outlier."""
    now, calls = [0.0], []

    def embed(images):
        calls.append(images.shape)
        now[0] += {1: 100.0, 3: 50.0}.get(len(calls), 0.5)
        return jnp.zeros((len(images), 2))

    monkeypatch.setattr("darkrank_jax.evaluation.embed.time.perf_counter", lambda: now[0])
    images = np.zeros((3, 4, 4, 1), np.uint8)
    assert images_per_second(embed, images) == pytest.approx(BATCH / 0.5)
    assert set(calls) == {(BATCH, 4, 4, 1)}
