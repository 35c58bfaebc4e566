"""Runs stand on one page only where they were measured on the same images, as far as is known."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from darkrank_jax import main as command_line
from darkrank_jax.config.description import describe
from darkrank_jax.config.reader import read_run
from darkrank_jax.errors import UserError
from darkrank_jax.runs.compare import compare
from darkrank_jax.runs.results import write_results
from tests import tiny_config
from tests.command import CONFIG, refusal
from tests.runs.finished_runs import finished_run


def without_digest(folder, *, embeddings):
    """Makes of a run what an earlier version wrote."""
    if embeddings:
        file = folder / "embeddings" / "test" / "student.npz"
        with np.load(file) as arrays:
            kept = {name: arrays[name] for name in arrays.files if name != "digest"}
        np.savez(file, **kept)
        return
    results = json.loads((folder / "results.json").read_text())
    assert results["dataset"].pop("digest")
    write_results(folder / "results.json", results)


def row_of(page, name):
    """A network's row of the first table, in words."""
    table, name = page.split("</table>")[0], name.replace("/", "/<wbr>")
    (row,) = re.findall(rf"<tr><th[^>]*><bdi>{name}</bdi>.*?</tr>", table)
    return re.sub("<[^>]*>", "|", row)


def with_cameras(folder, *, mean_average_precision, count):
    """Adds what a set with cameras has to a run, and the distractors of its gallery."""
    results = json.loads((folder / "results.json").read_text())
    found = {"cmc_at_1": 0.75, "mean_average_precision": mean_average_precision}
    found |= {"mean_inverse_negative_penalty": 0.125, "queries_alone": 3.0, "distractors": 40.0}
    results["networks"]["student"]["reid"] = found
    facts = {"source": "glyphs", "images": count, "digest": "d"}
    results["dataset"]["distractors"] = facts
    write_results(folder / "results.json", results)


def test_sets_with_cameras_are_compared_by_cmc_map_and_minp(tmp_path):
    runs = [finished_run(tmp_path, 0.5), finished_run(tmp_path, 0.2)]
    for run, value in zip(runs, (0.25, 0.625), strict=True):
        with_cameras(run, mean_average_precision=value, count=40)
    said = compare(runs, tmp_path / "report.html")
    lines = said.split("\n\n")[1].splitlines()
    assert lines[0].split() == ["across", "cameras,", "40", "distractors", "CMC@1", "mAP", "mINP"]
    assert lines[1].split() == ["noise", "0.5/student", "0.750", "0.250", "0.125"]
    assert lines[2].split() == ["noise", "0.2/student", "0.750", "0.625", "0.125"]
    page = (tmp_path / "report.html").read_text()
    assert "Re-identification across cameras, 40 distractors, in %" in page
    (table,) = (each for each in page.split("</table>") if "Re-identification across" in each)
    rows = re.findall(r"<tr><th[^>]*><bdi>.*?</tr>", table)
    assert [re.sub("<[^>]*>", " ", row).split() for row in rows] == [
        ["noise", "0.5/", "student", "75.0", "25.0", "12.5"],
        ["noise", "0.2/", "student", "75.0", "62.5", "12.5"],
    ]


def test_galleries_with_other_distractors_are_not_compared(tmp_path):
    runs = [finished_run(tmp_path, 0.5), finished_run(tmp_path, 0.2)]
    for run, count in zip(runs, (40, 30), strict=True):
        with_cameras(run, mean_average_precision=0.5, count=count)
    with pytest.raises(
        UserError, match=r"20 images and 30 distractors\), .* and 40 distractors\); "
    ):
        compare(runs, tmp_path / "report.html")


def test_the_same_images_are_compared_query_by_query(tmp_path):
    runs = [finished_run(tmp_path, 0.5), finished_run(tmp_path, 0.2)]
    said = compare(runs, tmp_path / "report.html")
    assert "known" not in said
    page = (tmp_path / "report.html").read_text()
    assert "p = " in row_of(page, "noise 0.2/student")
    assert "not known" not in page.lower()
    assert "noise 0.2/student right, noise 0.5/student wrong" in page


@pytest.mark.parametrize("options", [{"seed": 1}, {"distortion": 0.5}], ids=str)
def test_other_images_with_labels_alike_are_refused(tmp_path, options):
    runs = [finished_run(tmp_path, 0.5), finished_run(tmp_path, 0.2, **options)]
    line = (
        f"{runs[1]}: was measured on other images of 'test' (glyphs, 20 images) than {runs[0]}, "
        "whose classes, files, pixels or order differ; compare runs on the same images"
    )
    with pytest.raises(UserError, match=f"^{re.escape(line)}$"):
        compare(runs, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_embeddings_of_other_images_are_refused_where_results_do_not_say(tmp_path):
    runs = [finished_run(tmp_path, 0.5), finished_run(tmp_path, 0.2, seed=1)]
    without_digest(runs[1], embeddings=False)
    with pytest.raises(UserError, match=r"baseline\.npz: is of other images than the embeddings"):
        compare(runs, tmp_path / "report.html")


def test_what_an_earlier_version_stored_is_not_paired_and_a_line_says_so(tmp_path):
    runs = [finished_run(tmp_path, 0.5), finished_run(tmp_path, 0.2)]
    without_digest(runs[1], embeddings=False)
    without_digest(runs[1], embeddings=True)
    said = compare(runs, tmp_path / "report.html")
    line = "Not known is on which images noise 0.2 was measured, since results.json has no digest"
    page = (tmp_path / "report.html").read_text()
    assert said.splitlines()[-1].startswith(line)
    assert line in page
    row = row_of(page, "noise 0.2/student")
    assert "images not known to be the same" in row
    assert "p = " not in row
    # What the same run stored with a digest is still compared.
    assert "p = " in row_of(page, "noise 0.2/baseline")
    assert (
        "Networks of which it is not known that they embedded the same images have no lead" in page
    )


def test_a_network_whose_embeddings_are_not_stored_says_so(tmp_path):
    runs = [finished_run(tmp_path, 0.5), finished_run(tmp_path, 0.2)]
    (runs[1] / "embeddings" / "test" / "student.npz").unlink()
    compare(runs, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "embeddings not stored" in row_of(page, "noise 0.2/student")
    assert "p = " in row_of(page, "noise 0.5/baseline")
    assert "|reference|" in row_of(page, "noise 0.5/student")
    assert "--config.evaluation.save_embeddings=true" in page


def test_runs_of_one_name_are_told_apart_by_the_folders_above(tmp_path):
    runs = []
    for noise, setting in ((0.5, "a"), (0.2, "b")):
        (tmp_path / setting).mkdir()
        runs.append(finished_run(tmp_path, noise).rename(tmp_path / setting / "seed0"))
    said = compare(runs, tmp_path / "report.html")
    names = ["a/seed0/baseline", "a/seed0/student", "b/seed0/baseline", "b/seed0/student"]
    assert [line.split()[0] for line in said.splitlines()[1:]] == names
    with pytest.raises(UserError, match=r"^--mode compare: names one run twice; give each once$"):
        compare([*runs, tmp_path / "b" / ".." / "a" / "seed0"], tmp_path / "report.html")


def test_a_teacher_that_was_trained_elsewhere_has_its_learning_curve(tmp_path):
    runs = [finished_run(tmp_path, 0.5), finished_run(tmp_path, 0.2)]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "metrics.jsonl").write_text('{"step": 2, "loss": 8.0}\n{"step": 6, "loss": 0.5}\n')
    described = json.loads(json.dumps(describe(read_run(tiny_config.get_config().to_dict()))))
    described["teacher"]["checkpoint"] = str(elsewhere)
    facts = {"run": described, "channels": 1, "num_classes": 5}
    (runs[0] / "run.json").write_text(json.dumps(facts))
    results = json.loads((runs[0] / "results.json").read_text())
    results["networks"]["teacher"] = results["networks"]["student"]
    write_results(runs[0] / "results.json", results)
    compare(runs, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "noise 0.5/teacher: from 8 at step 2 to 0.5 at step 6." in page


@pytest.mark.slow
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
    assert said.startswith(
        "--mode compare: must have two runs or more (got 1); give their workdirs: "
    )
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
