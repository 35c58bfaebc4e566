from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from darkrank_jax import losses
from darkrank_jax.errors import UserError
from darkrank_jax.models import EmbeddingModel


class Itself(nn.Module):
    """A backbone whose one map is the image."""

    @nn.compact
    def __call__(self, images, train):
        return (images,)


class Gives(nn.Module):
    """A backbone that gives what it is asked to."""

    make: Any

    @nn.compact
    def __call__(self, images, train):
        return self.make(images)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda x: x, "[4, 3, 5, 6]"),
        (lambda x: [x], "[[4, 3, 5, 6]]"),
        (lambda x: (), "()"),
        (lambda x: (x, x.mean(axis=(1, 2))), "([4, 3, 5, 6], [4, 6])"),
        (lambda x: (x[:1],), "([1, 3, 5, 6],)"),
        (lambda x: ((x, x), x), "(([4, 3, 5, 6], [4, 3, 5, 6]), [4, 3, 5, 6])"),
        (lambda x: (x, None), "([4, 3, 5, 6], None)"),
    ],
)
def test_a_backbone_that_returns_no_tuple_of_maps_is_named(make, found):
    model = EmbeddingModel(Gives(make), embedding_dim=2)
    images = jax.ShapeDtypeStruct((4, 3, 5, 6), jnp.float32)
    with pytest.raises(UserError) as error:
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    assert str(error.value) == (
        "model.name: Gives must return a tuple of maps [4, height, width, channels], the last one "
        f"embedded (got {found}); return (maps,)"
    )


@pytest.fixture
def images():
    return np.random.default_rng(5).gamma(2.0, size=(4, 3, 5, 6)).astype(np.float32)


def outputs(images, variables=None, **options):
    model = EmbeddingModel(Itself(), embedding_dim=7, **options)
    images = jnp.asarray(images)
    variables = variables or model.init(jax.random.key(2), images, train=False)
    return model.apply(variables, images, train=False), variables


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("average", lambda x: x.mean(axis=(1, 2))),
        ("max", lambda x: x.max(axis=(1, 2))),
        ("gem", lambda x: (x**3).mean(axis=(1, 2)) ** (1 / 3)),
    ],
)
def test_features_are_the_pooled_last_map(images, pooling, expected):
    found, _ = outputs(images, pooling=pooling)
    np.testing.assert_allclose(found["features"], expected(images.astype(np.float64)), rtol=1e-5)
    np.testing.assert_array_equal(found["maps"][0], images)


@pytest.mark.parametrize("power", [1.0, 2.5, 40.0])
def test_gem_pools_by_its_learnt_power(images, power):
    _, variables = outputs(images, pooling="gem")
    variables["params"]["gem"]["power"] = jnp.asarray(power)
    found, _ = outputs(images, variables, pooling="gem")
    expected = (images.astype(np.float64) ** power).mean(axis=(1, 2)) ** (1 / power)
    np.testing.assert_allclose(found["features"], expected, rtol=1e-5)


def test_gem_gradients_are_those_of_its_formula(images):
    _, variables = outputs(images, pooling="gem")

    def pooled(images, power):
        params = {**variables["params"], "gem": {"power": power}}
        return outputs(images, {"params": params}, pooling="gem")[0]["features"].sum()

    by_image, by_power = jax.grad(pooled, argnums=(0, 1))(images, 3.0)
    x, step = images.astype(np.float64), 1e-6
    sums = (x**3).mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(by_image, sums ** (-2 / 3) * x**2 / 15, rtol=1e-4)
    above, below = (((x**p).mean(axis=(1, 2)) ** (1 / p)).sum() for p in (3 + step, 3 - step))
    np.testing.assert_allclose(by_power, (above - below) / (2 * step), rtol=1e-3)


@pytest.mark.parametrize("power", [3.0, 12.0])
@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e9])
def test_gem_has_finite_gradients_for_dead_and_for_huge_maps(images, power, scale):
    _, variables = outputs(images, pooling="gem")
    variables["params"]["gem"]["power"] = jnp.asarray(power)

    def total(params):
        found, _ = outputs(images * scale, {"params": params}, pooling="gem")
        return found["features"].sum() + found["embeddings"].sum()

    value, gradient = jax.value_and_grad(total)(variables["params"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((value, gradient)))


def test_embeddings_are_the_linear_layer_at_length_one(images):
    raw, variables = outputs(images, normalize=False)
    layer = variables["params"]["embedding"]
    expected = images.mean(axis=(1, 2)) @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
    np.testing.assert_allclose(raw["embeddings"], expected, rtol=1e-4, atol=1e-6)
    unit, _ = outputs(images, variables)
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(unit["embeddings"], expected / lengths, rtol=1e-4, atol=1e-6)


def test_without_a_dim_embeddings_are_the_pooled_features(images):
    model = EmbeddingModel(Itself(), embedding_dim=0)
    found, variables = model.init_with_output(jax.random.key(2), jnp.asarray(images), train=False)
    features = images.mean(axis=(1, 2))
    assert not variables
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(found["embeddings"], expected, rtol=1e-6)


def test_a_zero_embedding_stays_zero_with_zero_gradient(images):
    _, variables = outputs(images)
    zeros = np.zeros_like(images)
    gradient = jax.grad(lambda x: outputs(x, variables)[0]["embeddings"].sum())(zeros)
    np.testing.assert_array_equal(outputs(zeros, variables)[0]["embeddings"], 0)
    np.testing.assert_array_equal(gradient, 0)


def test_head_batch_norm_standardises_each_number_over_the_batch(images):
    model = EmbeddingModel(Itself(), embedding_dim=7, head_batch_norm=True, normalize=False)
    variables = model.init(jax.random.key(2), jnp.asarray(images), train=False)
    found, updates = model.apply(variables, jnp.asarray(images), train=True, mutable="batch_stats")
    raw, _ = outputs(images, {"params": variables["params"]}, normalize=False)
    raw = np.asarray(raw["embeddings"])
    expected = (raw - raw.mean(axis=0)) / np.sqrt(raw.var(axis=0) + 1e-5)
    np.testing.assert_allclose(found["embeddings"], expected, atol=1e-3)
    moved = updates["batch_stats"]["embedding_bn"]["mean"]
    np.testing.assert_allclose(moved, 0.1 * raw.mean(axis=0), rtol=1e-4, atol=1e-6)


def test_a_head_with_a_norm_gives_the_embedding_on_both_sides_of_it(images):
    model = EmbeddingModel(Itself(), embedding_dim=7, head_batch_norm=True)
    found, variables = model.init_with_output(jax.random.key(2), jnp.asarray(images), train=True)
    layer = jax.device_get(variables["params"]["embedding"])
    before = np.asarray(found["features"]) @ layer["kernel"] + layer["bias"]
    after = (before - before.mean(axis=0)) / np.sqrt(before.var(axis=0) + 1e-5)
    np.testing.assert_allclose(found["before_norm"], before, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["after_norm"], after, atol=1e-3)
    unit = after / np.linalg.norm(after, axis=1, keepdims=True)
    np.testing.assert_allclose(found["embeddings"], unit, atol=1e-3)
    assert not {"before_norm", "after_norm"} & outputs(images)[0].keys()


@pytest.mark.parametrize(("stage", "reaches"), [("before_norm", False), ("after_norm", True)])
def test_the_gradient_of_a_loss_before_the_norm_passes_the_norm_by(stage, reaches, images):
    model = EmbeddingModel(Itself(), embedding_dim=7, head_batch_norm=True)
    variables = model.init(jax.random.key(2), jnp.asarray(images), train=True)
    entry = {"weight": 1.0, "normalize_embeddings": False, "margin": 9.0, "embeddings": stage}
    sum_of = losses.combine({"triplet": entry})
    labels = jnp.arange(len(images)) // 2

    def loss(params):
        given = {"params": params, "batch_stats": variables["batch_stats"]}
        found, _ = model.apply(given, jnp.asarray(images), train=True, mutable=["batch_stats"])
        return sum_of(found | {"labels": labels})[0]

    gradient = jax.grad(loss)(variables["params"])
    assert np.abs(gradient["embedding"]["kernel"]).max() > 1e-4
    assert bool(np.any(gradient["embedding_bn"]["scale"])) == reaches


def test_half_precision_maps_are_pooled_and_embedded_in_float32(images):
    half, variables = outputs(jnp.asarray(images, jnp.bfloat16))
    assert half["features"].dtype == half["embeddings"].dtype == jnp.float32
    rounded = np.asarray(jnp.asarray(images, jnp.bfloat16), np.float32)
    full, _ = outputs(rounded, variables)
    np.testing.assert_allclose(half["embeddings"], full["embeddings"], rtol=1e-6, atol=1e-7)


def test_accelerators_multiply_embeddings_by_all_bits(images):
    """They would take parts of a float32 otherwise."""
    model = EmbeddingModel(Itself(), embedding_dim=7)
    variables = model.init(jax.random.key(0), jnp.asarray(images), train=False)
    embed = jax.jit(lambda v, x: model.apply(v, x, train=False)["embeddings"])
    text = embed.trace(variables, jnp.asarray(images)).lower(lowering_platforms=("cuda",)).as_text()
    (product,) = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert "precision = [HIGHEST, HIGHEST]" in product
