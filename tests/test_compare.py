"""`--mode compare`: finished runs on one page."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from darkrank_jax import main as command_line
from tests.command import CONFIG, refusal


def test_compare_makes_one_page_of_several_runs(finished, copy, tmp_path, capsys):
    """The copy pretends to be of another seed; its embeddings are stored, the first run's not."""
    results = json.loads((copy / "results.json").read_text())
    results["seed"] = 1
    for name in ("baseline", "student"):
        results["networks"][name]["metrics"]["recall_at_1"] += 0.0625
    (copy / "results.json").write_text(json.dumps(results))
    workdir = tmp_path / "compared"
    arguments = [str(finished), str(copy), f"--workdir={workdir}"]
    assert command_line.main(["main", "--mode=compare", *arguments]) == 0
    said = capsys.readouterr().out
    names = ["run/teacher", "run/baseline", "run/student", "copy/baseline", "copy/student"]
    assert [line.split()[0] for line in said.splitlines()[1:6]] == names
    page = (workdir / "report.html").read_text()
    assert "copy/student is best" in page
    assert "Over seeds" in page
    assert "Training loss, by step. copy/student: from" in page
    assert "Nearest images" not in page
    assert "--config.evaluation.save_embeddings=true" in page


def test_compare_looks_at_pictures_where_embeddings_are_stored(finished, copy, tmp_path):
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 4)
    other = Path(shutil.copytree(finished, tmp_path / "other"))
    results = json.loads((other / "results.json").read_text())
    results["networks"]["student"]["metrics"]["recall_at_1"] = 0.5
    (other / "results.json").write_text(json.dumps(results))
    for workdir in (copy, other):
        folder = workdir / "embeddings" / "test"
        folder.mkdir(parents=True)
        embeddings = np.eye(5)[labels] + 0.7 * generator.normal(size=(20, 5))
        digest = results["dataset"]["digest"]
        np.savez(folder / "student.npz", embeddings=embeddings, labels=labels, digest=digest)
        np.savez(folder / "images.npz", images=np.zeros((20, 4, 4, 1), np.uint8))
    workdir = tmp_path / "compared"
    arguments = ["main", "--mode", "compare", str(copy), str(other), f"--workdir={workdir}"]
    assert command_line.main(arguments) == 0
    page = (workdir / "report.html").read_text()
    assert "<bdi>other/student right, copy/student wrong</bdi>" in page
    assert "Lead in Recall@1" in page
    assert page.count('alt="Query: ') >= 2


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (None, ": has no results.json, so no run was finished there; give workdirs of finished"),
        ("{", "/results.json: is damaged (Expecting property name"),
        ("[]", "/results.json: the file must be an object (got []); delete"),
        (
            '{"schema": 1}',
            "/results.json: schema must be 2 (got 1), since another version",
        ),
    ],
)
def test_compare_refuses_what_is_no_finished_run(finished, copy, capsys, spoil, line, tmp_path):
    (copy / "results.json").unlink()
    if spoil is not None:
        (copy / "results.json").write_text(spoil)
    arguments = [str(finished), str(copy), f"--workdir={tmp_path / 'w'}"]
    assert refusal(capsys, "--mode=compare", *arguments).startswith(f"{copy}{line}")
    assert not (tmp_path / "w" / "report.html").exists()


def test_compare_refuses_runs_that_cannot_be_compared(finished, copy, capsys, tmp_path):
    where = f"--workdir={tmp_path / 'w'}"
    said = refusal(capsys, "--mode=compare", str(finished), where)
    assert said.startswith("--mode compare: needs two runs or more; give their workdirs: ")
    said = refusal(capsys, "--mode=compare", str(finished), str(finished), where)
    assert said == "--mode compare: names one run twice; give each once"
    results = json.loads((copy / "results.json").read_text())
    results["dataset"]["images"] = 21
    (copy / "results.json").write_text(json.dumps(results))
    said = refusal(capsys, "--mode=compare", str(finished), str(copy), where)
    assert said == (
        f"{copy}: was measured on 'test' (glyphs, 21 images), {finished} on 'test' (glyphs, 20 "
        "images); compare runs on the same images"
    )
    said = refusal(capsys, "--mode=compare", str(finished), str(copy), CONFIG)
    assert said == "--config: is not for --mode compare; give the workdirs of runs alone"
