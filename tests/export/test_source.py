"""What is exported: the network of a checkpoint and its facts."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax.errors import UserError
from darkrank_jax.export.source import load_source


def test_the_run_embeds_what_its_checkpoint_says(workdir, network, images):
    source = load_source(workdir)
    expected = source.embed(jnp.asarray(images))
    np.testing.assert_allclose(network.embed(images), expected, atol=2e-6)
    assert np.linalg.norm(network.embed(images), axis=1) == pytest.approx(np.ones(5), rel=1e-5)


def test_fingerprints_differ_where_embeddings_do(workdir, other_workdir, tmp_path):
    facts = [load_source(path).facts for path in (workdir, other_workdir)]
    assert facts[0]["fingerprint"] != facts[1]["fingerprint"]
    moved = shutil.copytree(workdir, tmp_path / "moved")
    assert load_source(moved).facts["fingerprint"] == facts[0]["fingerprint"]


def test_refuses_a_run_of_another_version(workdir, tmp_path):
    workdir = shutil.copytree(workdir, tmp_path / "old")
    facts = json.loads((workdir / "run.json").read_text())
    del facts["run"]["weights"]
    (workdir / "run.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match="was trained by another version"):
        load_source(workdir)
