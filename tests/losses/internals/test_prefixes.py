"""Losses over prefixes of the embedding against sentence-transformers, and by hand."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax import losses
from tests.losses.batches import LABELS, TEACHER, WEIGHTS, X


def test_prefixes_give_the_value_and_gradient_of_sentence_transformers_matryoshka_loss(x64):
    with np.load(Path(__file__).parents[2] / "golden" / "peer_losses.npz") as golden:
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
