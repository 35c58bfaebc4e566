"""Weighted sums of losses from a config."""

from pathlib import Path

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


def test_prefixes_give_the_value_and_gradient_of_sentence_transformers_matryoshka_loss(x64):
    with np.load(Path(__file__).parents[1] / "golden" / "peer_losses.npz") as golden:
        found = {name: golden[f"matryoshka/{name}"] for name in ("embeddings", "labels")}
        value, gradient = golden["matryoshka/value"], golden["matryoshka/grad"]
    sizes = (6, 4, 2)
    margins = {"pos_margin": 0.1, "neg_margin": 0.9}
    sum_of = losses.combine(
        {
            "ntxent": {"weight": 1.0, "prefixes": sizes, "temperature": 0.2},
            "contrastive": {"weight": 1.0, "prefixes": sizes, **margins},
        }
    )

    def loss(embeddings):
        return sum_of({"embeddings": embeddings, "labels": jnp.asarray(found["labels"])})[0]

    total, slope = jax.jit(jax.value_and_grad(loss))(jnp.asarray(found["embeddings"]))
    np.testing.assert_allclose(total, value, rtol=1e-6)
    np.testing.assert_allclose(slope, gradient, rtol=1e-6, atol=1e-6 * np.abs(gradient).max())


def test_prefixes_cut_class_weights_and_leave_the_teacher_whole():
    arrays = {
        "embeddings": jnp.asarray(X, jnp.float32),
        "labels": jnp.asarray(LABELS),
        "class_weights": jnp.asarray(WEIGHTS, jnp.float32),
        "teacher_embeddings": jnp.asarray(TEACHER, jnp.float32),
    }
    names = {"arcface": {"weight": 1.0, "prefixes": (3,)}, "pkt": {"weight": 1.0, "prefixes": (2,)}}
    _, values = losses.combine(names)(arrays)
    x, labels = arrays["embeddings"], arrays["labels"]
    arcface = losses.arcface_loss(x[:, :3], labels, arrays["class_weights"][:3])
    np.testing.assert_allclose(values["arcface"], arcface, rtol=1e-5)
    pkt = losses.pkt_loss(x[:, :2], arrays["teacher_embeddings"])
    np.testing.assert_allclose(values["pkt"], pkt, rtol=1e-5)


@pytest.mark.parametrize(
    ("loss", "prefixes", "line"),
    [
        ("supcon", (5,), "prefixes: got 5, expected a whole number from 1 to 4"),
        ("supcon", (0,), "prefixes: got 0"),
        ("kd", (2,), "losses: kd takes no embeddings"),
    ],
)
def test_prefixes_that_no_embedding_has_are_refused(loss, prefixes, line):
    arrays = {"embeddings": jnp.asarray(X), "labels": jnp.asarray(LABELS)}
    with pytest.raises(ValueError, match=line):
        losses.combine({loss: {"weight": 1.0, "prefixes": prefixes}})(arrays)
