"""A comparison chooses by validation alone, tests the chosen, and trains nobody twice."""

import csv
import importlib

import numpy as np
import pytest

from darkrank_jax.config.resolved import resolve, teacher_fields
from darkrank_jax.runs.sweep import jobs
from experiments import comparison
from tests import tiny_config
from tests.runs.whole_results import WHOLE

CONFIG = tiny_config.__file__
METHODS: comparison.Methods = {
    comparison.ALONE: ({"triplet": {"weight": 1.0, "margin": 0.2}}, {"triplet": {"weight": 3.0}}),
    "RKD": ({"rkd_angle": {"weight": 2.0}}, {"rkd_angle": {"weight": 5.0}}),
}

# Stands for a run. Its score in the test falls where that in validation rises.
STUB = """
import ast, json, pathlib, sys
flags = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[1:])
workdir = pathlib.Path(flags["workdir"])
with (workdir.parent.parent / "trained.txt").open("a") as file:
    file.write(f"{workdir.parent.name}/{workdir.name}\\\\n")
losses = ast.literal_eval(flags["config.losses"])
weight = list(losses.values())[-1]["weight"]
good = {1.0: 0.3, 3.0: 0.4, 2.0: 0.6, 5.0: 0.5}[weight]
if workdir.name == "teacher":
    good = 0.9
else:
    teacher = flags.get("config.teacher.checkpoint")
    assert (teacher is None) == ("rkd_angle" not in losses)
    assert teacher is None or (pathlib.Path(teacher) / "results.json").exists()
rows = {"step": 6, "validation/map_at_r": good, "validation/recall_at_1": good / 2}
(workdir / "metrics.jsonl").write_text(json.dumps(rows) + "\\\\n")
noise = int(flags["config.seed"]) / 100
scores = {"map_at_r": 1 - good + noise, "recall_at_1": 0.25}
results = WHOLE
results["networks"]["network"]["metrics"] |= scores
(workdir / "results.json").write_text(json.dumps(results))
""".replace("\\\\n", "\\n").replace("WHOLE", repr(WHOLE))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jobs, "COMMAND", ("-c", STUB))

    def once(*more):
        flags = [f"--workdir={tmp_path}", f"--tables={tmp_path}", "--workers=2", *more]
        monkeypatch.setattr("sys.argv", ["run", *flags])
        comparison.run_experiment(
            CONFIG, METHODS, ("recall_at_1", "map_at_r"), tmp_path, "About.", long=9
        )
        return capsys.readouterr().out

    return once


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_settings_are_chosen_in_validation_and_only_the_chosen_are_tested(run, tmp_path):
    said = run()
    tuning, results = (rows_of(tmp_path / f"{name}.csv") for name in ("tuning", "results"))
    assert len(tuning) == 1 + 4
    assert {row["seed"] for row in tuning} == {"3"}
    assert [row["map_at_r"] for row in tuning] == ["0.9", "0.3", "0.4", "0.6", "0.5"]
    chosen = {(row["method"], row["setting"], row["losses"]) for row in results}
    assert chosen == {
        ("teacher", "0", ""),
        ("student alone", "1", "3 triplet"),
        ("RKD", "0", "2 rkd_angle"),
    }
    # By hand: over seeds 0, 1, 2 the stub's scores are 1 - validation + seed / 100.
    lines = said.splitlines()[-3:]
    assert lines[0] == (
        "| student alone | 3 triplet | 0.250 ± 0.000 | 0.610 ± 0.010 | +0.000 +0.000 +0.000 "
        "| 0.000 ± 0.000 |"
    )
    assert lines[1].startswith("| RKD | 2 rkd_angle | 0.250 ± 0.000 | 0.410 ± 0.010 | -0.200")
    assert lines[1].endswith("| 0.400 ± 0.000 |")
    assert lines[2].startswith("| teacher |  | 0.250 ± 0.000 | 0.110 ± 0.010 | -0.500")


def test_a_longer_budget_has_the_settings_of_tuning(run, tmp_path, capsys):
    """Teachers are those that there are; students are trained again, in places of their own."""
    with pytest.raises(SystemExit):
        run("--long")
    said = capsys.readouterr().err
    assert (
        said == f"error: {tmp_path}/tuning.csv: must exist; run the command without --long first\n"
    )
    run()
    (tmp_path / "trained.txt").unlink()
    table = run("--long", "--methods", "student alone", "RKD")
    trained = (tmp_path / "trained.txt").read_text().split()
    names = ("3_triplet,_9_steps", "2_rkd_angle,_9_steps")
    assert sorted(trained) == sorted(f"seed{seed}/{name}" for seed in (0, 1, 2) for name in names)
    rows = rows_of(tmp_path / "long.csv")
    assert {row["losses"] for row in rows} == {"", "3 triplet", "2 rkd_angle"}
    assert "| RKD | 2 rkd_angle | 0.250 ± 0.000 | 0.410 ± 0.010 |" in table
    curves = {(row["method"], row["seed"]): row for row in rows_of(tmp_path / "curves.csv")}
    assert len(curves) == 9
    assert curves["RKD", "1"] == {
        "method": "RKD", "setting": "0", "seed": "1", "step": "6",
        "recall_at_1": "0.3", "map_at_r": "0.6",
    }  # fmt: skip
    text = (tmp_path / "tuning.csv").read_text()
    (tmp_path / "tuning.csv").write_text(text.replace("5 rkd_angle", "7 rkd_angle"))
    with pytest.raises(SystemExit):
        run("--long")
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/tuning.csv: setting 1 of 'RKD' must be '5 rkd_angle' (got "
        "'7 rkd_angle'); run the command without --long again\n"
    )


@pytest.mark.usefixtures("run")
def test_other_methods_stand_beside_the_losses_that_validate_best_alone(tmp_path):
    """Those are tried first, and no student is trained beside the others."""
    setup = comparison.Setup(CONFIG, METHODS, ("map_at_r",), beside_alone=True)
    found = comparison.compare(setup, tmp_path / "beside", 1)
    best = {"triplet": {"weight": 3.0}}
    assert found.methods == {
        comparison.ALONE: METHODS[comparison.ALONE],
        "RKD": (best | {"rkd_angle": {"weight": 2.0}}, best | {"rkd_angle": {"weight": 5.0}}),
    }
    assert found.chosen == {"teacher": 0, "student alone": 1, "RKD": 0}
    trained = (tmp_path / "beside" / "trained.txt").read_text().splitlines()
    assert [name.split("/")[1] for name in trained[:5]] == [
        "1_triplet",
        "3_triplet",
        "teacher",
        "3_triplet_+_2_rkd_angle",
        "3_triplet_+_5_rkd_angle",
    ]
    assert len(trained) == len(set(trained)) == 5 + 9


def test_what_is_trained_is_not_trained_again(run, tmp_path):
    first = run()
    trained = (tmp_path / "trained.txt").read_text()
    assert len(trained.split()) == 5 + 9
    assert run().splitlines()[-3:] == first.splitlines()[-3:]
    assert (tmp_path / "trained.txt").read_text() == trained


def test_the_teachers_run_is_the_teacher_of_the_config(tmp_path, monkeypatch):
    # Wherever the command is given.
    monkeypatch.chdir(tmp_path)
    student = resolve(CONFIG, {})
    fields = teacher_fields(CONFIG, student)
    assert fields["model"]["width"] == 6
    assert fields["losses"] == {"normalized_softmax": {"weight": 1.0}}
    assert fields["teacher"] == {}
    assert "ema_decay" in fields
    assert "steps" not in fields
    assert resolve(CONFIG, fields) == student["teacher"]


def test_a_teachers_own_teacher_is_kept():
    student = resolve(CONFIG, {})
    student["teacher"] = student["teacher"] | {"teacher": student["teacher"], "steps": 5}
    found = resolve(CONFIG, teacher_fields(CONFIG, student))
    assert found["teacher"]["model"]["width"] == 6
    assert (found["steps"], found["teacher"]["steps"]) == (5, 8)


@pytest.mark.parametrize("name", ["omniglot", "cars196_half"])
def test_an_experiment_without_its_images_says_so_at_once(name, tmp_path, monkeypatch, capsys):
    run = importlib.import_module(f"experiments.{name}.run")
    monkeypatch.setenv("DARKRANK_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr("sys.argv", ["run", f"--workdir={tmp_path / 'w'}"])
    with pytest.raises(SystemExit) as stopped:
        comparison.run_experiment(
            f"configs/{name}.py", run.METHODS, ("nmi",), tmp_path, "About.", 9
        )
    said = capsys.readouterr()
    assert (stopped.value.code, said.out) == (2, "")
    assert said.err.startswith(f"error: {tmp_path / 'nowhere'}")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "w").exists()


def test_leads_and_gaps_go_by_seed():
    rng = np.random.default_rng(4)
    chosen = {"teacher": 0, "student alone": 1, "RKD": 0}
    values = {
        comparison.Case(method, setting, seed): {"map_at_r": float(rng.uniform())}
        for method, setting in chosen.items()
        for seed in comparison.SEEDS
    }

    def row(method):
        return [values[comparison.Case(method, chosen[method], s)]["map_at_r"] for s in (0, 1, 2)]

    gaps = [
        (own - alone) / (teacher - alone)
        for own, alone, teacher in zip(*map(row, ("RKD", "student alone", "teacher")), strict=True)
    ]
    found = comparison.Found(METHODS, {}, chosen, values)
    (line,) = (line for line in comparison.table(found).splitlines() if line.startswith("| RKD"))
    assert line.endswith(f"| {np.mean(gaps):.3f} ± {np.std(gaps, ddof=1):.3f} |")
