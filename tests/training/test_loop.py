"""Teachers whose outputs are NaN or all zeros, through training: one line, or finite numbers."""

import math

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.errors import UserError
from darkrank_jax.runs import train as runs
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training import loop
from darkrank_jax.training.loop import fit
from darkrank_jax.training.network import Network, build
from darkrank_jax.workdir.metrics_log import read_log
from tests.small_runs import read, small, stored

LOSSES = (
    "darkrank_soft",
    "darkrank_hard",
    "rkd_distance",
    "rkd_angle",
    "embedding_match",
    "pkt",
    "similarity_preserving",
    "similarity_match",
)

# Nine losses at once on four simulated devices of two cores now and then end in XLA's own abort,
# as its collectives wait for each other: one device here, and not among the quick tests.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("source")]


def taught():
    """A run of three steps with every loss of LOSSES, and one without a teacher."""
    config = small(steps=3, log_every=1, eval_every=3)
    config.losses = ConfigDict({name: {"weight": 0.1} for name in LOSSES})
    config.losses.darkrank_soft.list_size = config.losses.darkrank_hard.list_size = 4
    config.losses.triplet = {"weight": 1.0}
    config.teacher = small()
    return config


def teacher_of(value, run, workdir):
    """A network all of whose variables are one number."""
    model, _, initial_state = build(run, channels=3, num_classes=12)
    variables = jax.tree.map(
        lambda leaf: np.full(leaf.shape, value, leaf.dtype),
        jax.eval_shape(lambda: initial_state().evaluated),
    )
    return Network(run, model, variables, 1, 0.0, workdir, 3)


def train(value, config, workdir):
    """Trains with such a teacher; its log."""
    run = read(config)
    assert run.teacher is not None
    teacher = teacher_of(value, run.teacher, workdir / "teacher")
    fit(run, Splits()[run.data], workdir, make_mesh(8, jax.devices()[:1]), "student", teacher)
    return read_log(workdir)


def test_a_teacher_of_zeros_gives_finite_losses(tmp_path):
    rows = [row for row in train(0.0, taught(), tmp_path) if "loss" in row]
    assert [row["step"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert all(math.isfinite(row[f"losses/{name}"]) for name in LOSSES)
        assert math.isfinite(row["gradient_norm"])


def test_a_teacher_of_nan_ends_the_run_at_once_and_is_named(tmp_path):
    with pytest.raises(UserError) as raised:
        train(np.nan, taught(), tmp_path)
    # Every loss of the teacher, and no other.
    assert str(raised.value) == (
        f"step 1: {', '.join(sorted(LOSSES))} is NaN or infinite; {tmp_path} keeps the last good "
        "checkpoint; check the teacher with --mode eval, lower learning_rate, or set clip_norm, "
        "and give another --workdir"
    )
    assert not [row for row in read_log(tmp_path) if "loss" in row]


def test_a_sampler_does_not_choose_by_a_teacher_of_nan(tmp_path):
    config = taught()
    config.losses = ConfigDict({"triplet": {"weight": 1.0}})
    config.data.sampler = ConfigDict({"name": "hard_classes", "group": 2, "pool": 2})
    with pytest.raises(UserError) as raised:
        train(np.nan, config, tmp_path)
    assert str(raised.value) == (
        "teacher: its embeddings of 48 of 48 training images are NaN or infinite; give another "
        "teacher, or the sampler p_x_k, which asks none"
    )


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_stored_embeddings_that_are_not_finite_end_the_run(value, tmp_path):
    vectors = np.random.default_rng(0).normal(size=(48, 8))
    vectors[5, 3] = value
    np.save(tmp_path / "e.npy", vectors)
    config = taught()
    config.teacher = stored(tmp_path / "e.npy")
    run = read(config)
    with pytest.raises(UserError, match=r"e.npy: the vector of row 5 is not finite in float32; "):
        runs.train(run, Splits(), tmp_path / "run", "student", make_mesh(8, jax.devices()[:1]))


def test_training_ends_after_validations_that_are_none_the_better_and_stays_ended(
    tmp_path, monkeypatch
):
    # Best at step 2; with two validations of patience the run ends at step 4 of 9.
    scores = iter([0.3, 0.5, 0.4, 0.2, 0.9, 0.9])

    def validate(*_):
        return dict.fromkeys(("recall_at_1", "map_at_r"), next(scores))

    monkeypatch.setattr(loop, "retrieval_metrics", validate)
    run = read(small(steps=9, eval_every=1, log_every=1, patience=2))
    arguments = (Splits()[run.data], tmp_path, make_mesh(8, jax.devices()[:1]), "student", None)
    for _ in range(2):
        assert fit(run, *arguments).step == 2
        assert read_log(tmp_path)[-1]["step"] == 4
    assert next(scores) == 0.9
