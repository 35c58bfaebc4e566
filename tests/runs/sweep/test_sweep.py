"""A sweep trains each setting with each seed once, and its table says what they found."""

import json

import pytest

from darkrank_jax import main as command_line
from darkrank_jax.runs.sweep import jobs
from tests.command import refusal
from tests.runs.sweep.stub_runs import CONFIG, STUB

# Such a folder holds checkpoints: tests/training/test_checkpoints.py.


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--config=omniglot"], "data.path: must be the folder that holds "),
        ([CONFIG, "--grid=learning_rat 1"], "--config.learning_rat: no field 'learning_rat' in "),
        ([CONFIG, "--grid=steps 4 0"], "steps: must be at least 1 (got 0)"),
        ([CONFIG, "--config.steps=0"], "steps: must be at least 1 (got 0)"),
        ([CONFIG, "--grid=steps"], '--grid: steps has no values; give --grid "steps VALUE VALUE"'),
        ([CONFIG, "--grid=steps '4"], "--grid: must be a field and its values, such as "),
        ([CONFIG, "--grid=steps 4", "--grid=steps 5"], "--grid: steps is given twice; give all "),
        (
            [CONFIG, "--seeds=0 one"],
            "--seeds: must be whole numbers from 0 with spaces between (got ",
        ),
        (
            [CONFIG, "--seeds="],
            "--seeds: must be whole numbers from 0 with spaces between (got '')",
        ),
        ([CONFIG, "--config.seed=3"], "--config.seed: is of one run; give --seeds"),
        ([CONFIG, "--workers=-1"], "--workers: must be from 0 to 1000 (got -1)"),
        (["--config=nowhere.py"], "--config: no file, name or module 'nowhere.py'; give the "),
        (
            [],
            "--config: must be given with --mode sweep (got nothing); --mode sweep --help",
        ),
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
