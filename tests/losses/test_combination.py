"""Weighted sums of losses from a config."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax import losses
from tests.losses.batches import LABELS, TEACHER, WEIGHTS, X


def test_combine_weights_by_number_and_by_schedule():
    arrays = {
        "embeddings": jnp.asarray(X, jnp.float32),
        "labels": jnp.asarray(LABELS),
        "teacher_embeddings": jnp.asarray(TEACHER, jnp.float32),
    }
    loss = losses.combine(
        {
            "triplet": {"weight": 2.0, "margin": 0.3, "mining": "distance_weighted"},
            "rkd_distance": {"weight": lambda step: 0.1 * step},
        }
    )
    total, values = jax.jit(loss)(arrays, step=4, key=jax.random.key(0))
    np.testing.assert_allclose(
        total, 2 * values["triplet"] + 0.4 * values["rkd_distance"], rtol=1e-6
    )
    expected = losses.rkd_distance_loss(arrays["embeddings"], arrays["teacher_embeddings"])
    np.testing.assert_allclose(values["rkd_distance"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("config", "line"),
    [({"tripelt": {"weight": 1.0}}, "nearest 'triplet'"), ({"triplet": {"margin": 0.1}}, "weight")],
)
def test_combine_refuses_what_it_does_not_know(config, line):
    with pytest.raises(ValueError, match=line):
        losses.combine(config)


def test_combine_takes_the_class_weights_of_one_loss_as_they_are():
    arrays = {"embeddings": jnp.asarray(X, jnp.float32), "labels": jnp.asarray(LABELS)}
    weights = jnp.asarray(WEIGHTS, jnp.float32)
    loss = losses.combine({"softmax": {"weight": 1.0}, "supcon": {"weight": 1.0}})
    total, values = loss(arrays | {"class_weights": weights})
    assert values["softmax"] == losses.softmax_loss(*arrays.values(), weights)
    assert total == loss(arrays | {"class_weights": {"softmax": weights}})[0]


@pytest.mark.parametrize(
    ("names", "weights", "line"),
    [
        (["supcon"], {}, r"arrays: supcon takes \"labels\", and there are only embeddings"),
        (
            ["softmax", "arcface"],
            jnp.ones([4, 5]),
            "one array for softmax, arcface; give a mapping",
        ),
        (["softmax"], {"arcface": jnp.ones([4, 5])}, "class_weights: there are none for softmax"),
    ],
)
def test_combine_refuses_arrays_that_are_not_there(names, weights, line):
    arrays = {"embeddings": jnp.asarray(X)}
    if len(weights):
        arrays |= {"labels": jnp.asarray(LABELS), "class_weights": weights}
    with pytest.raises(ValueError, match=line):
        losses.combine({name: {"weight": 1.0} for name in names})(arrays)


@pytest.mark.parametrize("masked", [False, True])
def test_losses_of_labels_see_only_the_labelled_rows(masked):
    rng = np.random.default_rng(4)
    embeddings, taught = (jnp.asarray(rng.normal(size=(7, dim)), jnp.float32) for dim in (3, 5))
    labels = jnp.array([0, 0, 1, 1, -1, -1, -1])
    where = jnp.array([True, True, True, masked is False, True, True, True])
    chosen = {
        "supcon": {"weight": 2.0, "temperature": 0.5},
        "rkd_distance": {"weight": 0.5},
        "normalized_softmax": {"weight": 1.0},
    }
    weights = jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)
    arrays = {
        "embeddings": embeddings,
        "labels": labels,
        "teacher_embeddings": taught,
        "class_weights": weights,
    }
    _, found = losses.combine(chosen)(arrays, where=where, labelled=4)
    first = {n: a if n == "class_weights" else a[:4] for n, a in arrays.items()}
    of_labels = {name: chosen[name] for name in ("supcon", "normalized_softmax")}
    _, expected = losses.combine(of_labels)(first, where=where[:4])
    against = losses.combine({"rkd_distance": chosen["rkd_distance"]})(arrays, where=where)[1]
    assert found == expected | against


def test_a_weight_alone_stands_for_a_loss_with_its_defaults():
    arrays = {"embeddings": jnp.asarray(X, jnp.float32), "labels": jnp.asarray(LABELS)}
    short, _ = losses.combine({"supcon": 0.5, "ntxent": lambda step: 0.1 * step})(arrays, step=3)
    supcon, ntxent = losses.supcon_loss(*arrays.values()), losses.ntxent_loss(*arrays.values())
    np.testing.assert_allclose(short, 0.5 * supcon + 0.3 * ntxent, rtol=1e-6)


def test_an_entry_names_the_array_that_its_loss_sees_and_no_other_gets_a_gradient():
    rng = np.random.default_rng(6)
    sides = {
        "embeddings": jnp.asarray(X, jnp.float32),
        "before_norm": jnp.asarray(rng.gamma(2.0, size=(10, 3)), jnp.float32),
        "after_norm": jnp.asarray(rng.normal(size=(10, 4)), jnp.float32),
    }
    labels, weights = jnp.asarray(LABELS) % 2, jnp.asarray(WEIGHTS, jnp.float32)
    given = {"labels": labels, "class_weights": weights, "teacher_embeddings": sides["embeddings"]}
    far = {"margin": 0.3, "normalize_embeddings": False}
    chosen = {
        "triplet": {"weight": 1.0, "embeddings": "before_norm", **far},
        "softmax": {"weight": 0.5, "embeddings": "after_norm"},
    }
    _, values = losses.combine({**chosen, "supcon": 1.0})(sides | given)
    x, before, after = sides.values()
    assert values == {
        "triplet": losses.triplet_loss(before, labels, **far),
        "softmax": losses.softmax_loss(after, labels, weights),
        "supcon": losses.supcon_loss(x, labels),
    }
    reached = jax.grad(lambda sides: losses.combine(chosen)(sides | given)[0])(sides)
    assert [name for name in sides if reached[name].any()] == ["before_norm", "after_norm"]
    # A teacher's own stays.
    entry = {"weight": 1.0, "embeddings": "before_norm"}
    _, values = losses.combine({"rkd_distance": entry})(sides | given)
    assert values["rkd_distance"] == losses.rkd_distance_loss(before, x)


def test_a_loss_without_embeddings_is_refused_an_array_of_them():
    with pytest.raises(ValueError, match="kd takes no embeddings of a student's; leave its embed"):
        losses.combine({"kd": {"weight": 1.0, "embeddings": "before_norm"}})
