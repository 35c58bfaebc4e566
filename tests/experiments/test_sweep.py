"""A sweep trains each setting with each seed once, and its table says what they found."""

import json
import os

import numpy as np
import pytest

from experiments import sweep

CONFIG = "tests/tiny_config.py"


def test_all_settings_of_a_seed_learn_from_one_teacher(tmp_path):
    jobs = sweep.grid_jobs(CONFIG, {"learning_rate": ["1e-3", "1e-2"]}, [3, 5], tmp_path)
    assert [(job.seed, job.overrides["learning_rate"]) for job in jobs] == [
        (3, "1e-3"), (3, "1e-2"), (5, "1e-3"), (5, "1e-2"),
    ]  # fmt: skip
    assert [job.overrides["teacher.seed"] for job in jobs] == [3, 3, 5, 5]
    for first, second in (jobs[:2], jobs[2:]):
        assert "teacher.checkpoint" not in first.overrides
        assert second.overrides["teacher.checkpoint"] == str(first.workdir / "teacher")
        assert (first.after, second.after) == (None, first.workdir)
    jobs = sweep.grid_jobs(CONFIG, {"teacher.model.width": [3, 6]}, [3], tmp_path)
    assert all(job.after is None and "teacher.checkpoint" not in job.overrides for job in jobs)


# Stands for a run, which costs the start of JAX and a compilation; the slow test has real ones.
STUB = """
import json, pathlib, sys
flags = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[1:])
if flags["config.steps"] == "0":
    sys.exit("error: steps: is 0; give at least 1")
workdir = pathlib.Path(flags["workdir"])
row = {"step": 6, "validation/nmi": 0.25} | flags
(workdir / "metrics.jsonl").write_text(json.dumps({"step": 4, "validation/nmi": 1}) + "\\n"
    + json.dumps(row) + "\\n")
network = {"metrics": {"nmi": 0.5, "ami": 0.75}, "best_step": 6}
(workdir / "results.json").write_text(json.dumps({"networks": {"network": network}}))
"""


def test_a_run_is_trained_once_and_a_failed_one_stops_what_waits_for_it(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(sweep, "COMMAND", ("-c", STUB))
    overrides = {"steps": 2, "losses": {"triplet": {"weight": 1.0}}}
    good = sweep.Job("good", CONFIG, overrides, 4, tmp_path / "good")
    bad = sweep.Job("bad", CONFIG, {"steps": 0}, 4, tmp_path / "bad")
    waits = sweep.Job("waits", CONFIG, overrides, 4, tmp_path / "waits", after=bad.workdir)
    assert sweep.run_jobs([good, bad, waits], workers=2) == [bad, waits]
    said = capsys.readouterr().out
    assert "bad, seed 4: failed, error: steps: is 0; give at least 1" in said
    assert "good, seed 4: finished" in said
    assert not waits.workdir.exists()
    assert os.sched_getaffinity(0) == set(sweep.cores())
    (row,) = sweep.collect([good, bad, waits], ["nmi"])
    expected = {"name": "good", "seed": 4, "network": "network"}
    assert row == expected | {"nmi": 0.5, "validation/nmi": 0.25}
    flags = json.loads((good.workdir / "metrics.jsonl").read_text().splitlines()[1])
    assert flags["config"] == CONFIG
    assert flags["config.seed"] == "4"
    assert flags["config.losses"] == "{'triplet': {'weight': 1.0}}"
    # The same command is not run again; another one is not taken for it.
    assert sweep.run_jobs([good], workers=1) == []
    assert capsys.readouterr().out == "good, seed 4: is done\n"
    assert not good._replace(seed=5).is_done()


def rows():
    for name, lead in (("a", 0.0), ("b", 0.1)):
        for seed, noise in ((0, 0.0), (1, 0.02)):
            for network, level in (("teacher", 0.8), ("student", 0.5 + lead)):
                yield {"name": name, "seed": seed, "network": network, "nmi": level + noise}


def test_the_table_has_the_spread_and_a_shared_teacher_once(tmp_path):
    lines = sweep.table(list(rows()), ["nmi"]).splitlines()
    deviation = np.std([0.0, 0.02], ddof=1)
    assert lines[2:] == [
        f"| a | teacher | 2 | 0.810 ± {deviation:.3f} |",
        f"| a | student | 2 | 0.510 ± {deviation:.3f} |",
        f"| b | student | 2 | 0.610 ± {deviation:.3f} |",
    ]
    sweep.write_rows(tmp_path / "rows.csv", list(rows()))
    written = (tmp_path / "rows.csv").read_text().splitlines()
    assert written[:2] == ["name,seed,network,nmi", "a,0,teacher,0.8"]
    assert len(written) == 9


@pytest.mark.slow
def test_the_command_trains_a_grid_and_goes_on(tmp_path, monkeypatch, capsys):
    arguments = ["sweep", "--config", CONFIG, "--workdir", str(tmp_path), "--seeds", "0", "1"]
    arguments += ["--grid", "losses.kd.temperature", "1.0", "3.0", "--workers", "2"]
    monkeypatch.setattr("sys.argv", arguments)
    sweep.main()
    said = capsys.readouterr().out
    assert said.count(": finished") == 4
    # Two settings, each with baseline and student, and the teacher that they share.
    assert len((tmp_path / "results.md").read_text().splitlines()) == 2 + 5
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 1 + 4 * 3
    sweep.main()
    again = capsys.readouterr().out
    assert again.count(": is done") == 4
    assert again.endswith((tmp_path / "results.md").read_text())
