"""A whole run by the command line: what it writes, how it goes on, and with what it does not."""

import json
import os
import shutil
import signal

import pytest

from darkrank_jax.config.reader import read_run
from darkrank_jax.evaluation.image_digests import images_digest
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training import compiled, loop
from tests import tiny_config
from tests.command import CONFIG, newest_params, refusal, run

PARTS = ("", "teacher", "baseline")


def test_a_run_leaves_results_report_logs_and_checkpoints(finished):
    results = json.loads((finished / "results.json").read_text())
    assert list(results["networks"]) == ["teacher", "baseline", "student"]
    assert results["schema"] == 2
    own = read_run(tiny_config.get_config().to_dict())
    assert results["dataset"].pop("digest") == images_digest(Splits()[own.data]["test"])
    assert results["dataset"] == {
        "name": "test",
        "source": "glyphs",
        "split": "test",
        "images": 20,
        "classes": 5,
        "queries": 20,
        "queries_alone": 0,
    }
    student = results["networks"]["student"]
    assert set(student["gap_recovered"]) == set(student["metrics"])
    assert all(-1 <= value <= 1 for value in student["metrics"].values())
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


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
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


# Of six batches each: the same eight steps, with a warm-up of two.
EPOCHS = ("steps=0", "epochs=1.3", "schedule.warmup_steps=0", "warmup_epochs=0.3")


@pytest.mark.slow
def test_a_run_in_epochs_goes_on_to_the_bits_of_its_steps(finished, copy, capsys):
    flags = [f"--config.{flag}" for flag in EPOCHS]
    assert run(copy, *flags) == 0
    assert f"{copy} is done" in capsys.readouterr().out
    (copy / "results.json").unlink()
    shutil.rmtree(copy / "checkpoints" / "8")
    assert run(copy, *flags) == 0
    (step, params), (_, expected) = newest_params(copy), newest_params(finished)
    assert step == 8
    assert all((a == b).all() for a, b in zip(params, expected, strict=True))
    flags[1] = "--config.epochs=2"
    capsys.readouterr()
    said = refusal(capsys, CONFIG, f"--workdir={finished}", *flags)
    assert said.startswith(f"{finished}: holds a run whose steps is 8, not 12; give another")


def test_a_loss_that_is_no_number_stops_the_run(copy, capsys, monkeypatch):
    (copy / "results.json").unlink()
    shutil.rmtree(copy / "checkpoints" / "8")
    original = compiled.compile_step

    def spoilt(*arguments):
        step = original(*arguments)

        def spoil(*inputs):
            state, metrics = step(*inputs)
            return state, metrics | {"losses/kd": metrics["losses/kd"] * float("nan")}

        return spoil

    monkeypatch.setattr(compiled, "compile_step", spoilt)
    assert run(copy) == 2
    assert (
        f"error: step 5: kd is NaN or infinite; {copy} keeps the last good"
        in capsys.readouterr().err
    )
    assert newest_params(copy)[0] == 4


def test_refuses_a_workdir_of_another_run(finished, capsys):
    said = refusal(capsys, CONFIG, f"--workdir={finished}", "--config.learning_rate=0.5")
    assert said.startswith(f"{finished}: holds a run whose learning_rate is 0.001, not 0.5; give")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("teacher.seed=1", "teacher.seed is 0, not 1"),
        ("teacher.steps=9", "teacher.steps is 8, not 9"),
        ("baseline.triplet.margin=0.5", "baseline.triplet.margin is 0.3, not 0.5"),
    ],
)
def test_a_finished_run_is_not_that_of_another_teacher_or_baseline(finished, capsys, change, line):
    said = refusal(capsys, CONFIG, f"--workdir={finished}", f"--config.{change}")
    assert said.startswith(f"{finished}: holds a run whose {line}; give another --workdir")


def test_a_finished_run_is_that_of_the_same_teacher_wherever_it_lies(finished, copy, capsys):
    moved = finished.parent / "moved"
    shutil.copytree(finished / "teacher", moved, dirs_exist_ok=True)
    assert run(copy, f"--config.teacher.checkpoint={moved}") == 0
    shutil.rmtree(moved / "checkpoints" / "8")
    shutil.rmtree(moved / "checkpoints" / "4")
    # Nothing to compare with any more, and nothing to be done.
    assert run(copy, f"--config.teacher.checkpoint={moved}") == 0
    shutil.copytree(finished / "baseline", moved, dirs_exist_ok=True)
    said = refusal(capsys, CONFIG, f"--workdir={copy}", f"--config.teacher.checkpoint={moved}")
    assert said.startswith(f"{copy}: holds a run whose teacher was another than it is now; give")


def test_a_run_of_before_there_were_digests_is_done_all_the_same(copy, capsys):
    path = copy / "run.json"
    facts = json.loads(path.read_text())
    assert set(facts.pop("identity")) == {
        "teacher",
        "train split of data",
        "validation split of data",
        "test split of data",
    }
    path.write_text(json.dumps(facts))
    assert run(copy) == 0
    assert f"{copy} is done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("model.width=5", "teacher.model.width: must be 6, with which {} was trained (got 5)"),
        ("model.normalize=False", "teacher.model.normalize: must be True, with which {} was "),
        ("data.mean=0.1", "teacher.data.mean: must be 0.5, with which {} was trained (got 0.1)"),
        (
            "data.std=(0.25,)",
            "teacher.data.std: must be 0.5, with which {} was trained (got [0.25])",
        ),
        ("ema_decay=0.5", "teacher.ema_decay: must be 0.0, with which {} was trained (got 0.5)"),
    ],
)
def test_names_the_field_in_which_a_teachers_checkpoint_differs(
    finished, capsys, tmp_path, change, line
):
    arguments = [
        f"--workdir={tmp_path / 'w'}",
        f"--config.teacher.checkpoint={finished / 'teacher'}",
        f"--config.teacher.{change}",
    ]
    assert refusal(capsys, CONFIG, *arguments).startswith(line.format(finished / "teacher"))
    assert not (tmp_path / "w").exists()


@pytest.mark.slow
def test_a_teachers_checkpoint_serves_another_run(finished, capsys, tmp_path):
    workdir = tmp_path / "w"
    arguments = (
        "--config.steps=2",
        "--config.baseline={}",
        f"--config.teacher.checkpoint={finished / 'teacher'}",
    )
    assert run(workdir, *arguments) == 0
    assert not (workdir / "teacher").exists()
    first, second = (
        json.loads((each / "results.json").read_text())["networks"]["teacher"]["metrics"]
        for each in (finished, workdir)
    )
    assert first == second
