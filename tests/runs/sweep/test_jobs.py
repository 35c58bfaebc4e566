"""Runs of a sweep: each trained once, in its order, in processes of their own."""

import json
import os

import pytest

from darkrank_jax.config.description import describe
from darkrank_jax.config.reader import read_run
from darkrank_jax.errors import UserError
from darkrank_jax.runs.splits import Splits, in_steps
from darkrank_jax.runs.sweep import jobs, seed_table
from tests.runs.sweep.stub_runs import CONFIG, STUB, own_config


def test_a_run_is_trained_once_and_a_failed_one_stops_what_waits_for_it(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(jobs, "COMMAND", ("-c", STUB))
    overrides = {"steps": 2, "losses": {"triplet": {"weight": 1.0}}}
    good = jobs.Job("good", CONFIG, overrides, 4, tmp_path / "good")
    bad = jobs.Job("bad", CONFIG, {"steps": 0}, 4, tmp_path / "bad")
    waits = jobs.Job("waits", CONFIG, overrides, 4, tmp_path / "waits", after=bad.workdir)
    assert jobs.run_jobs([good, bad, waits], workers=2) == [bad, waits]
    said = capsys.readouterr().out
    assert "bad, seed 4: failed, error: steps: must be at least 1 (got 0)" in said
    assert "good, seed 4: finished" in said
    assert not waits.workdir.exists()
    assert os.sched_getaffinity(0) == set(jobs.cores())
    (row,) = seed_table.collect([good, bad, waits], ["nmi"])
    expected = {"name": "good", "seed": 4, "network": "network"}
    assert row == expected | {"nmi": 0.5, "validation/nmi": 0.25}
    flags = json.loads((good.workdir / "flags.json").read_text())
    assert flags["config"] == CONFIG
    assert flags["config.seed"] == "4"
    assert flags["config.losses"] == "{'triplet': {'weight': 1.0}}"
    # The same command is not run again; another one is not taken for it.
    assert jobs.run_jobs([good], workers=1) == []
    assert capsys.readouterr().out == "good, seed 4: is done\n"
    assert not good._replace(seed=5).is_done()


def test_what_failed_or_was_run_by_another_config_is_neither_done_nor_counted(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(jobs, "COMMAND", ("-c", STUB))
    job = jobs.Job("good", own_config(tmp_path), {"steps": 2}, 4, tmp_path / "good")
    assert jobs.run_jobs([job], workers=1) == []
    assert len(seed_table.collect([job], ["nmi"])) == 1
    # The file changes, the command does not.
    own_config(tmp_path, "config.learning_rate = 0.125")
    assert not job.is_done()
    assert seed_table.collect([job], ["nmi"]) == []
    own_config(tmp_path)
    assert job.is_done()
    # The command changes, and fails: what was there stays uncounted, also in the next call.
    other = job._replace(overrides={"steps": 0})
    assert jobs.run_jobs([other], workers=1) == [other]
    assert seed_table.collect([other], ["nmi"]) == []
    assert jobs.run_jobs([other], workers=1) == [other]
    assert "is done" not in capsys.readouterr().out
    # An earlier version wrote its record before the run.
    (job.workdir / "command.json").write_text(json.dumps(job.arguments()))
    assert not job.is_done()


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ({"teacher.model.width": 9}, "holds a run whose teacher.model.width is 6, not 9; delete "),
        ({"teacher.steps": 9}, "holds a run whose teacher.steps is 8, not 9; delete it to start "),
        (
            {"teacher": {}, "losses": {"triplet": {"weight": 1}}},
            "holds a run whose teacher.chunk",
        ),
        # Where a teacher lies, and what the main command looks at.
        ({"teacher.checkpoint": "moved/teacher"}, ""),
        ({"log_every": 3}, ""),
    ],
    ids=str,
)
def test_a_finished_run_of_another_teacher_is_refused_in_a_line(
    tmp_path, capsys, monkeypatch, overrides, line
):
    monkeypatch.setattr(jobs, "COMMAND", ("-c", STUB))
    job = jobs.Job("x", CONFIG, {}, 4, tmp_path / "x")
    job.workdir.mkdir()
    facts = {"run": describe(read_run(job.resolved())), "channels": 1, "num_classes": 12}
    (job.workdir / "run.json").write_text(json.dumps(facts))
    (job.workdir / "results.json").write_text("{}")
    changed = job._replace(overrides=overrides)
    failed = jobs.run_jobs([changed], workers=1)
    said = capsys.readouterr().out
    assert failed == ([changed] if line else [])
    assert changed.is_done() == (not line)
    assert line == "" or said.startswith(f"x, seed 4: failed, {job.workdir}: {line}")


def test_a_finished_run_whose_teacher_s_length_is_in_epochs_is_done(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(jobs, "COMMAND", ("-c", STUB))
    # Eight steps of six an epoch.
    job = jobs.Job("x", CONFIG, {"teacher.steps": 0, "teacher.epochs": 1.3}, 4, tmp_path / "x")
    job.workdir.mkdir()
    run = in_steps(read_run(job.resolved()), Splits())
    assert run.teacher.steps == 8
    facts = {"run": describe(run), "channels": 1, "num_classes": 12}
    (job.workdir / "run.json").write_text(json.dumps(facts))
    assert jobs.run_jobs([job], workers=1) == []
    longer = job._replace(overrides={"teacher.steps": 0, "teacher.epochs": 3.0})
    assert jobs.run_jobs([longer], workers=1) == [longer]
    assert "holds a run whose teacher.steps is 8, not 18; delete it" in capsys.readouterr().out


def test_there_is_one_worker_where_jax_has_an_accelerator(monkeypatch, capsys):
    for backend, workers in (("cpu", len(jobs.cores())), ("gpu", 1), ("tpu", 1)):
        monkeypatch.setattr(jobs, "ASK_JAX", ("-c", f"print('a warning'); print({backend!r})"))
        assert jobs.default_workers() == workers
    monkeypatch.setattr(jobs, "ASK_JAX", ("-c", "raise RuntimeError('no driver')"))
    with pytest.raises(UserError, match=r"^JAX does not start: RuntimeError: no driver; install "):
        jobs.default_workers()
