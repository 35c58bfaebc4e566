"""Networks of a run, and where each was trained."""

from pathlib import Path

import pytest
from ml_collections import ConfigDict

from darkrank_jax.runs.roles import roles_of
from tests import tiny_config
from tests.small_runs import read, small, stored, student

HERE = Path("run")


@pytest.mark.usefixtures("source")
def test_a_run_alone_is_one_network():
    run = read(small())
    assert roles_of(run, HERE) == {"network": (run, HERE)}


def test_teacher_baseline_and_student_come_in_the_order_of_training():
    run = read(tiny_config.get_config())
    roles = roles_of(run, HERE)
    assert list(roles) == ["teacher", "baseline", "student"]
    assert [place for _, place in roles.values()] == [HERE / "teacher", HERE / "baseline", HERE]
    assert roles["teacher"][0] == run.teacher
    assert roles["baseline"][0].losses == run.baseline


@pytest.mark.usefixtures("source")
def test_stored_embeddings_are_no_network_and_a_checkpoint_lies_elsewhere():
    config = student(stored("e.npy"))
    config.losses = ConfigDict({"rkd_distance": {"weight": 1.0}})
    assert list(roles_of(read(config), HERE)) == ["student"]
    trained = small(checkpoint="elsewhere/run")
    assert roles_of(read(student(trained)), HERE)["teacher"][1] == Path("elsewhere/run")
