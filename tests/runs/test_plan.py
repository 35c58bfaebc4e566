"""A plan counts what a step takes, and refuses what does not fit; nothing is trained."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from darkrank_jax import main as command_line
from darkrank_jax.config.reader import read_run
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.errors import UserError
from darkrank_jax.runs import plan as plans
from darkrank_jax.runs.accelerators import ACCELERATORS
from darkrank_jax.runs.plan import Plan, plan_step
from darkrank_jax.runs.preflight import check_sizes
from darkrank_jax.runs.shapes import abstract_teacher
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training.batches import Batches
from darkrank_jax.training.network import Network
from tests import devices_config, tiny_config

BATCH, CLASSES, DIM, WIDTH, TOKENS = 16, 12, 8, 64, 5


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "embeddings.npy"
    np.save(path, np.ones((48, 5), np.float32))
    return path


@pytest.fixture(scope="module")
def run(stored):
    config = devices_config.get_config().unlock()
    config.teacher.embeddings = str(stored)
    return read_run(config.to_dict())


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(BATCH, jax.devices()[:2])


def seen_of(run):
    """What `plan_step` takes of a run, before the mesh."""
    splits = Splits()
    networks = check_sizes(run, splits)
    train = splits[run.data]["train"]
    return networks[""], abstract_teacher(run.teacher_file, train, networks, ""), splits


@pytest.fixture(scope="module")
def planned(run, mesh):
    return plan_step(*seen_of(run), mesh)


def test_counts_what_a_step_takes(planned):
    found = planned
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


def test_what_a_compiler_does_not_count_is_counted_in_the_text_of_its_program(run, mesh):
    step, shapes = plans.abstract_step(*seen_of(run), mesh)
    program = step.lower(*shapes).compile()
    counted = program.cost_analysis()["bytes accessed"]
    silent = SimpleNamespace(cost_analysis=lambda: None, as_text=program.as_text)
    # XLA counts of a slice in a fusion what is read, and a loop once.
    assert counted < plans.traffic_of(silent, "cpu", 1) < 2 * counted


@pytest.mark.parametrize(("platform", "times"), [("tpu", 1), ("cpu", 4)])
def test_what_is_in_a_loop_counts_as_often_as_it_runs(platform, times):
    program = SimpleNamespace(cost_analysis=lambda: {"bytes accessed": 3.0})
    found = plans.traffic_of(program, platform, 4)
    assert found == 3.0 * times


def test_what_lies_padded_or_is_the_program_itself_takes_memory_too(
    run, mesh, planned, monkeypatch
):
    plain = planned
    sizes = {"argument": plain.state + plain.batch + 1000, "temp": 200, "generated_code": 30}
    sizes |= {"output": 7, "alias": 4}
    memory = SimpleNamespace(**{f"{name}_size_in_bytes": size for name, size in sizes.items()})
    compiled = SimpleNamespace(
        memory_analysis=lambda: memory, cost_analysis=lambda: {"bytes accessed": 5.0}
    )
    monkeypatch.setattr(plans, "compile_lowered", lambda lowered: compiled)
    found = plan_step(*seen_of(run), mesh)
    assert found.temporary == 1000 + 200 + 30 + 3
    assert found.memory == found.state + found.batch + 1233
    assert (found.traffic, found.flops) == (5.0, plain.flops)


def test_a_compilers_own_refusal_is_a_line():
    def refusing(said):
        def compile():
            raise jax.errors.JaxRuntimeError(said)

        return SimpleNamespace(compile=compile)

    said = "RESOURCE_EXHAUSTED: Ran out of memory on HBM, 49.72G of 15.75G.\nLargest: ..."
    with pytest.raises(UserError) as raised:
        plans.compile_lowered(refusing(said))
    assert str(raised.value).startswith(
        "plan: XLA says: Ran out of memory on HBM, 49.72G of 15.75G; raise chunks, set remat"
    )
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL: something else"):
        plans.compile_lowered(refusing("INTERNAL: something else"))


def test_time_is_between_computing_and_moving_before_it():
    found = Plan(1, 8e12, 2, 3, 4, 1e9)
    assert found.memory == 9
    slow, fast = (
        ACCELERATORS["h100"]._replace(flops=flops, bandwidth=bandwidth)
        for flops, bandwidth in ((1e12, 1e9), (1e15, 1e8))
    )
    assert found.seconds(slow, 4) == pytest.approx((2 / 0.4, 2 / 0.4 + 1))
    assert found.seconds(fast, 4) == pytest.approx((0.005, 10.005))


def test_the_command_says_what_does_not_fit(stored, capsys, monkeypatch, tmp_path):
    seen = []

    def compiled(network, teacher, splits, mesh):
        seen.append((network.run.model["dtype"], network.run.chunks, mesh.size))
        return Plan(19_764, 4e15, 60_000_000_000, 1_000_000_000, 13_000_000_000, 1e9)

    monkeypatch.setattr(plans, "plan_step", compiled)
    monkeypatch.setattr(plans, "has_compiler", lambda accelerator: False)
    config = f"--config={devices_config.__file__}"
    teacher = f"--config.teacher.embeddings={stored}"
    arguments = ["--mode=plan", "--devices=4", "--accelerator=h100", "--config.chunks=2"]
    where = f"--workdir={tmp_path / 'w'}"
    assert command_line.main(["main", config, teacher, where, *arguments]) == 2
    said = capsys.readouterr()
    assert said.out.startswith("network    student\ndevices    4 x h100\n")
    hint = 'pip install -U "jax[cuda13]" to compile for h100'
    assert f"program    compiled for cpu; {hint}\n" in said.out
    assert "traffic    1.000 GB a step and device\n" in said.out
    assert "16 images in 2 chunks, float32" in said.out
    assert "74.000 GB a device: state 60.000, batch 1.000, temporary 13.000" in said.out
    # 4e15 over four devices at 0.4 of 989e12.
    assert "2,530 to 2,530 ms a step, 6.33 to 6.33 images/s, 50.6 to 50.6 s for 20" in said.out
    assert "assumed    40% of 989 TFLOP/s, 3.35 TB/s" in said.out
    assert said.err.startswith(
        "error: plan: a device needs 74.0 GB for the student, and 90% of its 80 GB are for the "
        "step; raise chunks, "
    )
    assert seen == [("float32", 2, 4)]
    assert command_line.main(["main", config, teacher, where, *arguments, "--memory=141"]) == 0
    assert not (tmp_path / "w").exists()


def test_every_network_that_is_trained_has_a_plan(run, monkeypatch, tmp_path, capsys):
    """The teacher is one of two; of a chain the first comes first; what is there is not trained."""
    plain = dataclasses.replace(run, teacher=None, baseline={})
    assistant = dataclasses.replace(plain, teacher=plain)
    pair = dataclasses.replace(plain, ensemble={"small": assistant, "wide": plain}, steps=0)
    whole = dataclasses.replace(run, teacher=pair, baseline={"triplet": {"weight": 1.0}})
    teachers = ["teacher's small's teacher", "teacher's small", "teacher's wide"]
    names = [name for name, *_ in whole.trained_networks()]
    assert names == [*teachers, "baseline", "student"]
    there = dataclasses.replace(run, teacher=dataclasses.replace(plain, checkpoint="runs/x"))
    assert [name for name, *_ in there.trained_networks()] == ["student"]
    assert [name for name, *_ in plain.trained_networks()] == ["network"]
    taken = iter([80e9, 10e9, 75e9])
    monkeypatch.setattr(plans, "plan_step", lambda *_: Plan(1, 1e9, int(next(taken)), 0, 0, 1e6))
    monkeypatch.setattr(plans, "has_compiler", lambda accelerator: False)
    there = Network(plain, None, {}, 0, 0.0, tmp_path, 1)
    monkeypatch.setattr(plans, "check_sizes", lambda *_: {"": there, "teacher.": there})
    three = dataclasses.replace(whole, teacher=plain)
    with pytest.raises(UserError, match=r"80\.0 GB for the teacher, 75\.0 GB for the student"):
        plans.plan(three, tmp_path, devices=1, accelerator="h100")
    said = capsys.readouterr().out
    blocks = [block.splitlines() for block in said.split("\n\n")]
    assert [block[0].split()[1] for block in blocks] == ["teacher", "baseline", "student"]
    # 1e9 of 0.4 * 989e12 a second, and 1e6 of 3.35e12, over 20 steps.
    assert "time       0.00253 to 0.00283 ms a step, 5,660,000 to 6,330,000 images/s, " in said


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.00398, 0.01959, "0.00398 to 0.0196 s"),
        (59.0, 61.0, "0.983 to 1.02 min"),
        (3599.0, 72_000.0, "1.00 to 20.0 h"),
        (999.6 * 3600, 12_345 * 3600, "1,000 to 12,300 h"),
        (0.0, 0.0, "0 to 0 s"),
    ],
)
def test_durations_have_three_digits_and_a_unit(low, high, said):
    assert plans.duration_range(low, high) == said


@pytest.mark.slow
def test_what_is_computed_twice_counts_twice(run):
    mesh = make_mesh(BATCH, jax.devices()[:1])
    plain, chunked, both = (
        plan_step(*seen_of(dataclasses.replace(run, **options)), mesh).flops
        for options in ({}, {"chunks": 2}, {"chunks": 2, "remat": True})
    )
    assert chunked - plain == both - chunked
    assert 1.2 < chunked / plain < 1.4


def test_is_compiled_for_the_accelerator_that_is_named(run, monkeypatch, tmp_path, capsys):
    seen = []

    def compiled(network, teacher, splits, mesh):
        seen.append(mesh.devices.flat[0].device_kind)
        return Plan(1, 1.0, 2, 3, 4, 5.0)

    updates = {}
    monkeypatch.setattr(plans, "plan_step", compiled)
    monkeypatch.setattr(plans, "has_compiler", lambda accelerator: True)
    monkeypatch.setattr(plans.jax.config, "update", updates.__setitem__)
    fields = {"device_kind": "TPU v5 lite", "process_index": 0}
    absent = dataclasses.make_dataclass("Absent", ["id"], namespace=fields, frozen=True)
    devices = [absent(place) for place in range(8)]
    monkeypatch.setattr(plans, "absent_devices", lambda accelerator, count: devices[:count])
    plans.plan(run, tmp_path, devices=8, accelerator="tpu_v5e")
    said = capsys.readouterr().out
    assert "devices    8 x tpu_v5e\nprogram    compiled for TPU v5 lite\n" in said
    plans.plan(run, tmp_path, accelerator="tpu_v5e")
    assert capsys.readouterr().out.startswith("network    student\ndevices    1 x tpu_v5e\n")
    assert seen == 2 * ["TPU v5 lite"]
    # JAX would look for them, and could not read what it had kept of them.
    assert updates["jax_platforms"] == "cpu"
    assert updates["jax_enable_compilation_cache"] is False


def test_refuses_what_is_not_there(run, tmp_path):
    assert len(jax.devices()) == 4  # JAX has begun
    with pytest.raises(UserError, match="--accelerator: unknown name 'h10'; did you mean 'h100'"):
        plans.plan(run, tmp_path, accelerator="h10")
    with pytest.raises(
        UserError,
        match=r"--devices: must be at most 4, with which JAX began \(got 16\); start again",
    ):
        plans.plan(run, tmp_path, devices=16)


def test_refuses_devices_that_cannot_share_a_batch_before_it_simulates_them(run, tmp_path):
    size = run.data.batch_size
    with pytest.raises(
        UserError, match=rf"^--devices: must divide a batch of {size} images \(got 1"
    ):
        plans.plan(run, tmp_path, devices=100_000, accelerator="h100")


def test_half_precision_is_planned_for_an_accelerator(run):
    auto = dataclasses.replace(run, model=run.model | {"dtype": "auto"})
    nested = dataclasses.replace(run, teacher=auto, ensemble={"one": auto})
    found = nested.computing_in("bfloat16")
    assert found.model["dtype"] == "float32"  # as the config states
    assert found.teacher is not None
    assert found.teacher.model["dtype"] == "bfloat16"
    assert found.ensemble["one"].model["dtype"] == "bfloat16"


SAVED = "once for all students of its dataset{}, in place of 8 for each"


@pytest.mark.parametrize(
    ("views", "dtype", "line"),
    [
        (0, "float32", f"of float32 on disk; the teacher runs on 8 batches {SAVED}"),
        (2, "float16", f"of float16 on disk; the teacher runs on 12 batches {SAVED}"),
    ],
)
def test_stored_outputs_are_counted(views, dtype, line):
    config = tiny_config.get_config().unlock()
    config.update({"store_teacher": True, "store_dtype": dtype})
    config.data.views = views
    # Of 8 images in a batch, each 8 numbers of an embedding and 12 logits; of 48 in all.
    arrays = [jax.ShapeDtypeStruct((8, numbers), np.float32) for numbers in (8, 12)]

    def stored() -> str:
        run = read_run(config.to_dict())
        train = Splits()[run.data]["train"]
        batches = Batches(train, run.data, run.data.sampler, run.seed, run.steps, train)
        return plans.stored_outputs(arrays, batches, dtype)

    assert stored() == "0.0 MB " + line.format("" if views else " and seed")
    config.data.views = 20000
    found = stored()
    size = {"float32": 4, "float16": 2}[dtype] * 20000 * 48 * (8 + 12) / 1e6
    assert found.startswith(
        f"{size:,.1f} MB of {dtype} on disk; the teacher runs on 120,000 batches"
    )
