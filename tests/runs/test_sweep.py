"""A sweep trains each setting with each seed once, and its table says what they found."""

import json
import os

import pytest

from darkrank_jax import main as command_line
from darkrank_jax.config.description import describe
from darkrank_jax.config.reader import read_run
from darkrank_jax.errors import UserError
from darkrank_jax.runs.sweep import grid as sweep
from darkrank_jax.runs.sweep import jobs, seed_table
from tests.command import refusal
from tests.experiments.whole_results import WHOLE

CONFIG = "tests/tiny_config.py"


def test_all_settings_of_a_seed_learn_from_one_teacher(tmp_path):
    made = sweep.grid_jobs(CONFIG, {"learning_rate": ["1e-3", "1e-2"]}, [3, 5], tmp_path)
    teachers, students = made[:2], made[2:]
    assert [(job.name, job.seed) for job in teachers] == [("teacher", 3), ("teacher", 5)]
    assert [(job.seed, job.overrides["learning_rate"]) for job in students] == [
        (3, "1e-3"), (3, "1e-2"), (5, "1e-3"), (5, "1e-2"),
    ]  # fmt: skip
    for job, teacher in zip(students, [teachers[0]] * 2 + [teachers[1]] * 2, strict=True):
        assert job.after == teacher.workdir
        assert job.overrides["teacher.checkpoint"] == str(teacher.workdir)
        # What the student says of its teacher is what was trained there.
        trained, told = teacher.resolved(), job.resolved()["teacher"]
        assert {name for name in told if told[name] != trained[name]} == {"checkpoint"}
    # In another order and with another setting, the teachers are where they were.
    more = sweep.grid_jobs(CONFIG, {"learning_rate": ["1", "1e-2", "1e-3"]}, [5, 3], tmp_path)
    assert {job.workdir for job in more[:2]} == {job.workdir for job in teachers}


def test_a_setting_that_is_a_list_or_holds_slashes_names_one_folder(tmp_path):
    grid = {"data.mean": ["(0.5,)"], "evaluation.networks": [r"{'a': 'x[1]\\y/z'}"]}
    places = {job.workdir for job in sweep.grid_jobs(CONFIG, grid, [0], tmp_path)[1:]}
    assert [place.relative_to(tmp_path).parts for place in places] == [
        ("data.mean=(0.5,),evaluation.networks={'a': 'x[1]__y_z'}", "seed0")
    ]
    # Such a folder holds checkpoints: tests/training/test_checkpoints.py.


@pytest.mark.parametrize(
    ("grid", "seeds", "line"),
    [
        ({"steps": ["2", "2"]}, [0], "two runs would have the folder steps=2/seed0; give each"),
        ({"steps": ["2"]}, [1, 0, 1], "two runs would have the folder steps=2/seed1; give each"),
        (
            {"data.path": ["a/b", "a_b"]},
            [0],
            "two runs would have the folder data.path=a_b/seed0; give each value and seed once, ",
        ),
        (
            {"data.path": [200 * "ü"]},
            [0],
            "the name of a setting must have at most 200 bytes, since a folder has it (got 410: ",
        ),
    ],
)
def test_settings_that_no_folder_of_their_own_can_hold_are_refused(grid, seeds, line, tmp_path):
    with pytest.raises(UserError) as raised:
        sweep.grid_jobs(CONFIG, grid, seeds, tmp_path)
    assert str(raised.value).startswith(f"--grid: {line}")
    assert not any(tmp_path.iterdir())


OWN = """
from ml_collections import ConfigDict
from configs import default
from tests import tiny_config
def get_config():
    config = tiny_config.get_config().unlock()
    default.share_images(config)
    {change}
    return config.lock()
"""


def own_config(folder, change="pass"):
    path = folder / "own.py"
    path.write_text(OWN.format(change=change))
    return str(path)


def test_settings_whose_teachers_differ_do_not_share_one(tmp_path):
    """The images' size is one for student and teacher, which the name of the field does not say."""
    grid = {"data.image_size": [16, 24], "steps": [2, 4]}
    made = sweep.grid_jobs(own_config(tmp_path), grid, [0], tmp_path)
    assert [job.resolved()["data"]["image_size"] for job in made[:2]] == [16, 24]
    first, second = (job.workdir for job in made[:2])
    assert first != second
    assert [job.after for job in made[2:]] == [first, first, second, second]
    grid = {"teacher.model.width": [3, 6]}
    assert len({job.after for job in sweep.grid_jobs(CONFIG, grid, [0], tmp_path)[2:]}) == 2


@pytest.mark.parametrize(
    "change",
    [
        "config.teacher = ConfigDict(); config.losses = config.baseline",
        "del config.losses['kd']; config.teacher.weights.path = 'w'; config.teacher.steps = 0; "
        "config.teacher.model.embedding_dim = 0",
        "config.teacher.checkpoint = 'runs/there'",
    ],
)
def test_a_teacher_that_is_not_trained_is_no_run(tmp_path, change):
    made = sweep.grid_jobs(own_config(tmp_path, change), {"steps": [2, 4]}, [0], tmp_path)
    assert [(job.name, job.after) for job in made] == [("steps=2", None), ("steps=4", None)]
    assert all(list(job.overrides) == ["steps"] for job in made)


# Stands for a run, which costs the start of JAX and a compilation; the slow test has real ones.
STUB = """
import json, pathlib, sys
flags = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[1:])
if flags.get("config.steps") == "0":
    sys.exit("error: steps: is 0; give at least 1")
workdir = pathlib.Path(flags["workdir"])
rows = [{"step": 4, "validation/nmi": 1}, {"step": 6, "validation/nmi": 0.25}]
(workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
(workdir / "flags.json").write_text(json.dumps(flags))
results = WHOLE
results["networks"]["network"]["metrics"] |= {"nmi": 0.5, "ami": 0.75}
(workdir / "results.json").write_text(json.dumps(results))
""".replace("WHOLE", repr(WHOLE))


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
    assert "bad, seed 4: failed, error: steps: is 0; give at least 1" in said
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


def test_there_is_one_worker_where_jax_has_an_accelerator(monkeypatch, capsys):
    for backend, workers in (("cpu", len(jobs.cores())), ("gpu", 1), ("tpu", 1)):
        monkeypatch.setattr(jobs, "_ASK_JAX", ("-c", f"print('a warning'); print({backend!r})"))
        assert jobs.default_workers() == workers
    monkeypatch.setattr(jobs, "_ASK_JAX", ("-c", "raise RuntimeError('no driver')"))
    with pytest.raises(UserError, match=r"^JAX does not start: RuntimeError: no driver; install "):
        jobs.default_workers()


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--config=omniglot"], "data.path: is empty, and so is the environment "),
        ([CONFIG, "--grid=learning_rat 1"], "--config.learning_rat: no field 'learning_rat' in "),
        ([CONFIG, "--grid=steps 4 0"], "steps: is 0; give at least 1"),
        ([CONFIG, "--config.steps=0"], "steps: is 0; give at least 1"),
        ([CONFIG, "--grid=steps"], '--grid: steps has no values; give --grid "steps VALUE VALUE"'),
        ([CONFIG, "--grid=steps '4"], '--grid: must be a field and its values (got "steps '),
        ([CONFIG, "--grid=steps 4", "--grid=steps 5"], "--grid: steps is given twice; give all "),
        ([CONFIG, "--seeds=0 one"], "--seeds: must be whole numbers with spaces between (got "),
        ([CONFIG, "--seeds="], "--seeds: must be whole numbers with spaces between (got '')"),
        ([CONFIG, "--config.seed=3"], "--config.seed: is of one run; give --seeds"),
        ([CONFIG, "--workers=-1"], "--workers: must be at least 0 (got -1)"),
        (["--config=nowhere.py"], "--config: no file, name or module 'nowhere.py'; valid: "),
        ([], "--config: missing; give --config NAME or FILE, or --help for all that there is"),
    ],
    ids=str,
)
def test_what_no_run_could_do_is_said_before_the_first(tmp_path, capsys, monkeypatch, flags, line):
    monkeypatch.delenv("DARKRANK_DATA", raising=False)
    monkeypatch.setattr(jobs, "COMMAND", ("-c", STUB))
    workdir = tmp_path / "sweep"
    flags = [f"--config={flag}" if flag == CONFIG else flag for flag in flags]
    said = refusal(capsys, "--mode=sweep", *flags, f"--workdir={workdir}")
    assert said.startswith(line)
    assert not workdir.exists()


def test_fields_of_the_command_are_those_of_every_run_and_of_its_table(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(jobs, "COMMAND", ("-c", STUB))
    arguments = ["darkrank", "--mode=sweep", f"--config={CONFIG}", f"--workdir={tmp_path}"]
    arguments += ["--config.teacher={}", "--config.losses={'triplet': {'weight': 1.0}}"]
    arguments += ["--config.eval_every", "2", "--seeds=1 5", "--workers=2"]
    assert command_line.main([*arguments, "--grid=steps 2 4", "--grid=learning_rate 1e-3"]) == 0
    said = capsys.readouterr().out
    assert said.count(": finished") == 4
    assert said.endswith((tmp_path / "results.md").read_text())
    for steps, seed in (("2", "1"), ("2", "5"), ("4", "1"), ("4", "5")):
        place = tmp_path / f"steps={steps},learning_rate=1e-3" / f"seed{seed}"
        flags = json.loads((place / "flags.json").read_text())
        assert (flags["config.steps"], flags["config.seed"]) == (steps, seed)
        assert (flags["config.eval_every"], flags["config.teacher"]) == ("2", "{}")
    failing = [*arguments, "--grid=steps 2 4", "--grid=learning_rate 2e-3"]
    monkeypatch.setattr(jobs, "COMMAND", ("-c", "raise SystemExit('error: no')"))
    assert command_line.main(failing) == 2
    assert capsys.readouterr().err == (
        "error: 4 of 4 runs failed, as said above; the same command tries again\n"
    )


@pytest.mark.slow
def test_the_command_trains_a_grid_and_goes_on(tmp_path, capsys):
    arguments = ["darkrank", "--mode=sweep", f"--config={CONFIG}", f"--workdir={tmp_path}"]
    arguments += ["--seeds=0 1", "--grid=losses.kd.temperature 1.0 3.0", "--workers=2"]
    assert command_line.main(arguments) == 0
    said = capsys.readouterr().out
    # Two settings and their teacher, with two seeds.
    assert said.count(": finished") == 6
    # Two settings, each with baseline and student, and the teacher that they share.
    assert len((tmp_path / "results.md").read_text().splitlines()) == 2 + 5
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 1 + 4 * 3
    assert command_line.main(arguments) == 0
    again = capsys.readouterr().out
    assert again.count(": is done") == 6
    assert again.endswith((tmp_path / "results.md").read_text())
