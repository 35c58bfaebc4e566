"""A plan counts what a step takes, and refuses what does not fit; nothing is trained."""

import dataclasses

import jax
import numpy as np
import pytest

from darkrank_jax import main as command_line
from darkrank_jax.errors import UserError
from darkrank_jax.training import plan as plans
from darkrank_jax.training.mesh import make_mesh
from darkrank_jax.training.plan import Accelerator, Plan, plan_step
from darkrank_jax.training.run_config import read_run
from tests import devices_config

BATCH, CLASSES, DIM, WIDTH, TOKENS = 16, 12, 8, 64, 5


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "embeddings.npy"
    np.save(path, np.ones((48, 5), np.float32))
    return path


@pytest.fixture
def run(stored):
    config = devices_config.get_config().unlock()
    config.teacher.embeddings = str(stored)
    return read_run(config.to_dict())


def test_counts_what_a_step_takes(run):
    found = plan_step(run, make_mesh(BATCH, jax.devices()[:2]))
    block = 4 * WIDTH * WIDTH + 2 * WIDTH * 4 * WIDTH  # attention's four layers, then two
    biases = 4 * WIDTH + 4 * WIDTH + WIDTH + 3 * 2 * WIDTH  # and three norms
    patches = 8 * 8 * WIDTH + WIDTH + (1 + TOKENS) * WIDTH
    head = WIDTH * DIM + DIM + 2 * DIM
    assert found.parameters == block + biases + patches + head
    # Parameters, momentum, statistics of the head's norm, and a few counters.
    arrays = 2 * (found.parameters + DIM * CLASSES) + 2 * DIM
    assert 4 * arrays < found.state < 4 * arrays + 64
    assert found.batch == BATCH // 2 * (16 * 16 + 4 + 4 * 5)
    # A step is three times the forward pass, but for the first layer; losses and norms are small.
    forward = TOKENS * (block + 2 * TOKENS * WIDTH) + WIDTH * DIM
    expected = BATCH * (3 * 2 * forward + 2 * 2 * 4 * 8 * 8 * WIDTH)
    assert expected < found.flops < 1.3 * expected
    # Two layers of each block keep what they are given for the gradient.
    assert found.temporary > BATCH // 2 * TOKENS * (4 * WIDTH + 4 * WIDTH) * 4
    assert found.traffic > found.state + found.batch


def test_time_is_between_computing_and_waiting_for_memory():
    found = Plan(1, 8e12, 2, 3, 4, 1e9)
    assert found.memory == 9
    assert found.seconds(Accelerator(1e12, 1e9, 0, ""), 4) == pytest.approx((2 / 0.4, 2 / 0.4))
    assert found.seconds(Accelerator(1e15, 1e8, 0, ""), 4) == pytest.approx((0.005, 10))


def test_the_command_says_what_does_not_fit(stored, capsys, monkeypatch, tmp_path):
    seen = []

    def compiled(run, mesh):
        seen.append((run.model["dtype"], run.chunks, mesh.size))
        return Plan(19_764, 4e15, 60_000_000_000, 1_000_000_000, 13_000_000_000, 1e9)

    monkeypatch.setattr(plans, "plan_step", compiled)
    config = f"--config={devices_config.__file__}"
    teacher = f"--config.teacher.embeddings={stored}"
    arguments = ["--mode=plan", "--devices=4", "--accelerator=h100", "--config.chunks=2"]
    where = f"--workdir={tmp_path / 'w'}"
    assert command_line.main(["main", config, teacher, where, *arguments]) == 2
    said = capsys.readouterr()
    assert "devices    4 x h100; compiled for cpu" in said.out
    assert "16 images in 2 chunks, float32" in said.out
    assert "74.000 GB a device: state 60.000, batch 1.000, temporary 13.000" in said.out
    # 4e15 over four devices at 0.4 of 989e12.
    assert "2527.8 to 2527.8 ms a step, 6 to 6 images/s, 0.01 to 0.01 h for 20" in said.out
    assert "assumed    40% of 989 TFLOP/s, 3.35 TB/s" in said.out
    assert said.err.startswith(
        "error: plan: a device needs 74.0 GB, and 90% of its 80 GB are for the step; raise chunks, "
    )
    assert seen == [("float32", 2, 4)]
    assert command_line.main(["main", config, teacher, where, *arguments, "--memory=141"]) == 0
    assert not (tmp_path / "w").exists()


def test_what_is_computed_twice_counts_twice(run):
    mesh = make_mesh(BATCH, jax.devices()[:1])
    plain, chunked, both = (
        plans._flops(dataclasses.replace(run, **options), mesh)
        for options in ({}, {"chunks": 2}, {"chunks": 2, "remat": True})
    )
    assert chunked - plain == both - chunked
    assert 1.2 < chunked / plain < 1.4


def test_refuses_what_is_not_there(run, tmp_path):
    with pytest.raises(UserError, match="--accelerator: unknown name 'h10'; did you mean 'h100'"):
        plans.plan(run, tmp_path, accelerator="h10")
    with pytest.raises(UserError, match="--devices: is 16, and JAX began with 4; start it anew"):
        plans.plan(run, tmp_path, devices=16)


def test_half_precision_is_planned_for_an_accelerator(run):
    auto = dataclasses.replace(run, model=run.model | {"dtype": "auto"})
    nested = dataclasses.replace(run, teacher=auto, ensemble={"one": auto})
    found = plans._computing_in("bfloat16", nested)
    assert found.model["dtype"] == "float32"  # as the config states
    assert found.teacher is not None
    assert found.teacher.model["dtype"] == "bfloat16"
    assert found.ensemble["one"].model["dtype"] == "bfloat16"
