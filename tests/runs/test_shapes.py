"""Shapes of networks and arrays are those of the real ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax.runs.shapes import abstract_network, abstract_teacher, arrays_of
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training.network import build
from tests import tiny_config
from tests.small_runs import ensemble, imported, read, small, stored, student


def test_shapes_are_those_of_what_the_network_computes():
    run, splits = read(small_plain()), Splits()
    train = splits[run.data]["train"]
    found = arrays_of(abstract_network(run, splits), 6, splits)
    model, _, initial_state = build(run, channels=1, num_classes=len(train.class_names))
    variables = jax.jit(initial_state)().evaluated
    outputs = model.apply(
        {"params": variables["params"]["model"], "batch_stats": variables["batch_stats"]},
        jnp.zeros((6, 16, 16, 1)),
        train=False,
    )
    for name in ("embeddings", "features"):
        assert found[name].shape == outputs[name].shape
    assert [each.shape for each in found["maps"]] == [each.shape for each in outputs["maps"]]
    assert found["class_weights"].shape == (outputs["embeddings"].shape[1], len(train.class_names))
    assert found["logits"].shape == (6, len(train.class_names))
    assert arrays_of(None, 6, splits) == {}


def small_plain():
    config = tiny_config.small()
    config.losses = {"triplet": {"weight": 1.0}}
    return config


@pytest.mark.usefixtures("source")
def test_an_ensemble_has_embeddings_of_all_its_members():
    run = read(student(ensemble(a=imported(), b=small(steps=1))))
    splits = Splits()
    found = arrays_of(abstract_network(run.teacher, splits), 4, splits)
    members = [
        arrays_of(abstract_network(each, splits), 4, splits)["embeddings"].shape[1]
        for each in run.teacher.ensemble.values()
    ]
    assert found["embeddings"].shape == (4, sum(members))
    assert set(found) == {"embeddings"}


@pytest.mark.usefixtures("source")
def test_stored_embeddings_have_the_size_that_the_file_has(tmp_path):
    run, splits = read(student(stored(tmp_path / "e.npy"))), Splits()
    train, networks = splits[run.data]["train"], {"a.teacher.": abstract_network(run, splits)}
    assert abstract_teacher("", train, networks, "") is None
    assert abstract_teacher("", train, networks, "a.") is networks["a.teacher."]
    rows = len(splits[run.data]["train"].labels)
    np.save(tmp_path / "e.npy", np.random.default_rng(0).normal(size=(rows, 7)).astype(np.float32))
    found = arrays_of(abstract_teacher(run.teacher_file, train, networks, "a."), 3, splits)
    assert {name: each.shape for name, each in found.items()} == {"embeddings": (3, 7)}
