"""The command line, in this process: what it writes, what it says, and its exit codes."""

import json
import os
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from darkrank_jax import main as command_line
from darkrank_jax.training import loop

CONFIG = f"--config={Path(__file__).parent / 'tiny_config.py'}"
PARTS = ("", "teacher", "baseline")


def run(workdir, *arguments):
    return command_line.main(["main", CONFIG, f"--workdir={workdir}", *arguments])


def newest_params(workdir):
    """Every array of a workdir's newest checkpoint."""
    with ocp.CheckpointManager(
        workdir / "checkpoints", item_handlers={"params": ocp.StandardCheckpointHandler()}
    ) as manager:
        items = manager.restore(
            manager.latest_step(), args=ocp.args.Composite(params=ocp.args.StandardRestore())
        )
        return manager.latest_step(), [np.asarray(leaf) for leaf in jax.tree.leaves(items.params)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The workdir of a whole run that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    assert run(workdir) == 0
    return workdir


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_a_run_leaves_results_report_logs_and_checkpoints(finished):
    results = json.loads((finished / "results.json").read_text())
    assert list(results["networks"]) == ["teacher", "baseline", "student"]
    assert results["dataset"] == {"source": "glyphs", "split": "test", "images": 20, "classes": 5}
    student = results["networks"]["student"]
    assert set(student["gap_recovered"]) == set(student["metrics"])
    assert all(0 <= value <= 1 for value in student["metrics"].values())
    assert results["networks"]["teacher"]["parameters"] > student["parameters"]
    assert "<table" in (finished / "report.html").read_text()
    for part in PARTS:
        rows = [json.loads(x) for x in (finished / part / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == [2, 4, 4, 6, 8, 8]
        assert "validation/recall_at_1" in rows[-1]
        assert newest_params(finished / part)[0] == 8
        assert list((finished / part / "tensorboard").iterdir())
    assert {name for name in rows[0] if name.startswith("losses/")} == {"losses/triplet"}


def test_a_second_run_says_that_it_is_done(finished, capsys):
    before = (finished / "results.json").read_text()
    assert run(finished) == 0
    said = capsys.readouterr().out
    assert f"{finished} is done" in said
    assert "To start again, delete" in said
    assert (finished / "results.json").read_text() == before


def test_eval_gives_the_same_figures_again(copy):
    before = json.loads((copy / "results.json").read_text())
    (copy / "results.json").unlink()
    assert run(copy, "--mode=eval") == 0
    after = json.loads((copy / "results.json").read_text())
    for name, network in before["networks"].items():
        assert after["networks"][name]["metrics"] == network["metrics"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_goes_on_to_the_same_bits(
    finished, tmp_path, monkeypatch, capsys, number
):
    """The signal comes in the middle of the student, between two validations."""
    shutil.copytree(finished / "teacher", tmp_path / "run" / "teacher")
    shutil.copytree(finished / "baseline", tmp_path / "run" / "baseline")
    original, calls = loop.put, []

    def put(tree, sharding):
        if isinstance(tree, dict):
            calls.append(tree)
            if len(calls) == 5:
                os.kill(os.getpid(), number)
        return original(tree, sharding)

    monkeypatch.setattr(loop, "put", put)
    assert run(tmp_path / "run") == 128 + number
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "student: stopped at step 5 of 8 and saved" in line
    assert "the same command goes on from there" in line
    assert newest_params(tmp_path / "run")[0] == 5
    monkeypatch.undo()
    assert run(tmp_path / "run") == 0
    step, params = newest_params(tmp_path / "run")
    _, expected = newest_params(finished)
    assert step == 8
    assert all((a == b).all() for a, b in zip(params, expected, strict=True))
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [2, 4, 4, 5, 6, 8, 8]


def test_a_loss_that_is_no_number_stops_the_run(copy, capsys, monkeypatch):
    (copy / "results.json").unlink()
    shutil.rmtree(copy / "checkpoints" / "8")
    original = loop.compile_step

    def spoilt(*arguments):
        step = original(*arguments)

        def spoil(*inputs):
            state, metrics = step(*inputs)
            return state, metrics | {"losses/kd": metrics["losses/kd"] * float("nan")}

        return spoil

    monkeypatch.setattr(loop, "compile_step", spoilt)
    assert run(copy) == 2
    assert (
        f"error: step 5: kd is NaN or infinite; {copy} keeps the last good"
        in capsys.readouterr().err
    )
    assert newest_params(copy)[0] == 4


def refusal(capsys, *arguments):
    """The one line of a refused command."""
    assert command_line.main(["main", *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("stpes=3", "--config.stpes: no field 'stpes' in the config; did you mean 'steps'?"),
        (
            "losses.kd.temprature=3",
            "--config.losses.kd.temprature: no field 'temprature' in the config; did you mean "
            "'temperature'?",
        ),
        ("steps=many", "flag --config.steps=many: invalid literal for int() with base 10: 'many'"),
        ("steps=0", "steps: is 0; give at least 1"),
        ("ema_decay=1.0", "ema_decay: is 1.0; give less than 1"),
        ("data.std=0.0", "data.std: is 0.0; give more than 0"),
        ("model.name=resnet19", "model.name: unknown name 'resnet19'; did you mean 'resnet18'?"),
        ("model.stem=smal", "model.stem: is 'smal' (str); give 'imagenet' or 'strided' or 'small'"),
        ("data.source=glyph", "data.source: unknown name 'glyph'; did you mean 'glyphs'?"),
        ("optimizer.name=adam", "optimizer.name: unknown name 'adam'; did you mean 'adamw'?"),
        ("schedule.name=cosinus", "schedule.name: unknown name 'cosinus'; did you mean 'cosine'?"),
        (
            "data.batch_size=9",
            "data.batch_size: 9 images are no whole number of classes of 2 "
            "(data.images_per_class); give a multiple of 2",
        ),
        (
            "data.batch_size=10",
            "data.batch_size: 10 images do not divide over 4 devices; give a multiple of 4",
        ),
        (
            "data.batch_size=48",
            "data.batch_size: 48 images at 2 a class (data.images_per_class) need 24 classes, and "
            "the training split has 12; give at most 24, or more images a class",
        ),
        (
            "teacher.data.image_size=24",
            "teacher.data.image_size: is 24, the student's is 16; give both the same",
        ),
        (
            "checkpoint=somewhere",
            "checkpoint: is for a teacher; leave it empty to train this network",
        ),
        (
            "teacher.checkpoint=nowhere",
            "nowhere: has no run.json, so no run was trained there; train it first",
        ),
        (
            "data.options.num_classes=99999",
            "data.options.num_classes: is 99999; the fonts have 2687 characters, give at most that",
        ),
    ],
)
def test_refuses_a_config_in_one_line(change, line, capsys, tmp_path):
    said = refusal(capsys, CONFIG, f"--workdir={tmp_path / 'w'}", f"--config.{change}")
    assert said == line
    assert not (tmp_path / "w" / "checkpoints").exists()


CHANGED = """
from tests import tiny_config
def get_config():
    config = tiny_config.get_config().unlock()
    {change}
    return config
"""


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("config.stpes = 3", "stpes: unknown field; did you mean 'steps'?"),
        ("del config.steps", "steps: missing; give int"),
        (
            "with config.ignore_type(): config.data.path = 3.5",
            "data.path: is 3.5 (float); give str",
        ),
        ("config.losses = {}", "losses: is empty; name at least one of: "),
        (
            "config.losses = {'triplt': {'weight': 1}}",
            "losses: unknown name 'triplt'; did you mean ",
        ),
        ("config.losses = {'triplet': {}}", "losses.triplet: has no weight; give "),
        (
            "with config.ignore_type(): config.losses.kd.weight = 'x'",
            "losses.kd.weight: is 'x'; give a number or a schedule",
        ),
        ("config.losses.kd.weight.nam = 1", "losses.kd.weight.nam: unknown field; valid: "),
        ("config.losses.kd.temprature = 1.0", "losses.kd.temprature: unknown field; did you mean "),
        (
            "with config.ignore_type(): config.losses.kd.temperature = '1'",
            "losses.kd.temperature: is '1' (str); give float",
        ),
        (
            "config.losses.darkrank_soft.method = 'best'",
            "losses.darkrank_soft: method: got 'best', expected one of ",
        ),
        ("config.teacher = {}", "losses.darkrank_soft: needs a teacher; state teacher"),
        ("config.baseline = {'pkt': {'weight': 1}}", "baseline.pkt: a baseline has no teacher; "),
        ("del config.teacher.losses.normalized_softmax", "teacher.losses: is empty; name at least"),
        (
            "config.teacher.losses = {'triplet': {'weight': 1.0}}",
            "teacher.losses: kd compares class logits, so exactly one classification loss must",
        ),
        (
            "config.data.augmentation.random_afine = {}",
            "data.augmentation: unknown name 'random_afine'; did you mean 'random_affine'?",
        ),
        (
            "config.losses = {'embedding_match': {'weight': 1}}; config.model.embedding_dim = 9",
            "losses.embedding_match: ",
        ),
        (
            "config.losses.darkrank_hard = {'weight': 1.0, 'list_size': 8}",
            "losses.darkrank_hard.list_size: is 8; a batch of 8 has 7 other images, give at most 7",
        ),
    ],
)
def test_refuses_a_config_file_in_one_line(change, line, capsys, tmp_path):
    path = tmp_path / "changed.py"
    path.write_text(CHANGED.format(change=change))
    said = refusal(capsys, f"--config={path}", f"--workdir={tmp_path / 'w'}")
    assert said.startswith(line)
    assert not (tmp_path / "w" / "checkpoints").exists()


def test_refuses_what_is_no_command(capsys, tmp_path):
    assert refusal(capsys) == "--config: missing; give --config configs/NAME.py"
    assert (
        refusal(capsys, "--config", "no.py")
        == "--config: no file 'no.py'; give one of configs/*.py"
    )
    assert refusal(capsys, CONFIG, "extra").startswith("extra: no flag; give --config")
    assert "Unknown command line flag 'wokdir'" in refusal(capsys, CONFIG, "--wokdir=x")
    assert "value should be one of" in refusal(capsys, CONFIG, "--mode=tarin")


def test_refuses_a_workdir_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    said = refusal(capsys, CONFIG, f"--workdir={tmp_path / 'file' / 'w'}")
    assert said.startswith(f"{tmp_path / 'file' / 'w' / 'teacher'}: cannot be written (")


def test_refuses_a_workdir_of_another_run(finished, capsys):
    said = refusal(capsys, CONFIG, f"--workdir={finished}", "--config.learning_rate=0.5")
    assert said.startswith(f"{finished}: holds a run whose learning_rate is 0.001, not 0.5; give")


def test_eval_needs_a_trained_run(capsys, tmp_path):
    said = refusal(capsys, CONFIG, f"--workdir={tmp_path / 'w'}", "--mode=eval")
    assert said.startswith(f"{tmp_path / 'w' / 'teacher'}: has no run.json")


def test_names_the_parameter_in_which_a_checkpoint_differs(finished, capsys, tmp_path):
    said = refusal(
        capsys,
        CONFIG,
        f"--workdir={tmp_path / 'w'}",
        f"--config.teacher.checkpoint={finished / 'teacher'}",
        "--config.teacher.model.width=5",
    )
    assert "is of another architecture: params/" in said
    assert "state the model that it was trained with" in said


def test_a_teachers_checkpoint_serves_another_run(finished, capsys, tmp_path):
    workdir = tmp_path / "w"
    arguments = ("--config.steps=2", f"--config.teacher.checkpoint={finished / 'teacher'}")
    assert run(workdir, *arguments) == 0
    assert not (workdir / "teacher").exists()
    first, second = (
        json.loads((each / "results.json").read_text())["networks"]["teacher"]["metrics"]
        for each in (finished, workdir)
    )
    assert first == second
