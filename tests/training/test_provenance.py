"""Digests of what a run was given."""

import numpy as np

from configs import default
from darkrank_jax.config.reader import read_run
from darkrank_jax.training import provenance
from tests.models.saved_weights import sharded


def test_digest_of_a_folder_follows_the_files_in_it(tmp_path):
    tensors = {"a": np.ones(3), "b": np.ones(2)}
    sharded(tensors, tmp_path)
    config = default.get_config().to_dict() | {"steps": 0}
    config["weights"]["path"] = str(tmp_path)
    config["model"]["embedding_dim"] = 0
    run = read_run(config, "teacher")
    first = provenance.teacher_digest(run, tmp_path)
    assert provenance.teacher_digest(run, tmp_path) == first != ""
    sharded(tensors | {"b": np.zeros(2)}, tmp_path)
    assert provenance.teacher_digest(run, tmp_path) not in (first, "")
    (tmp_path / "b.safetensors").unlink()
    assert provenance.teacher_digest(run, tmp_path) == ""
