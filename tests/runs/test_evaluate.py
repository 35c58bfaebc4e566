"""--mode eval measures what is there."""

import json
from unittest import mock

import numpy as np
import pytest

from darkrank_jax import main as command_line
from darkrank_jax.data import SOURCES
from darkrank_jax.data.sources.glyphs import glyphs
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.protocols import Embedded, reranking, verification
from darkrank_jax.runs.datasets import DatasetSource
from darkrank_jax.runs.evaluate import evaluate
from darkrank_jax.runs.splits import Splits
from tests.command import CONFIG, refusal, run
from tests.marks import slow_but
from tests.runs.finished_runs import finished_run


def test_stored_embeddings_of_other_images_are_not_evaluated(tmp_path):
    first, other = finished_run(tmp_path, 0.5), finished_run(tmp_path, 0.2, seed=1)
    networks = {
        path.name: {"test": path / "embeddings" / "test" / "student.npz"} for path in (first, other)
    }
    with pytest.raises(UserError, match=r"student\.npz: is of other images than 'test', though"):
        evaluate("x", networks, {"test": DatasetSource(None, "")}, Splits(), make_mesh(4), seed=0)


def figures(workdir):
    """What results.json says, but for what a machine makes of it."""
    results = json.loads((workdir / "results.json").read_text())
    results.pop("name")
    for network in results["networks"].values():
        assert network.pop("images_per_second") > 0
    return results


def test_eval_gives_the_same_figures_again(copy, finished):
    before = figures(finished)
    (copy / "results.json").unlink()
    assert command_line.main(["main", "--mode=eval", f"--workdir={copy}"]) == 0
    assert figures(copy) == before
    # How it was trained need not be said again.
    trained = ("--config.steps=9", "--config.eval_every=3", "--config.teacher.learning_rate=3.0")
    assert run(copy, "--mode=eval", "--config.evaluation.save_embeddings=true", *trained) == 0
    assert figures(copy) == before
    files = sorted(file.name for file in (copy / "embeddings" / "test").iterdir())
    assert files == ["baseline.npz", "images.npz", "student.npz", "teacher.npz"]


CHOSEN = """
from ml_collections import ConfigDict
from tests import tiny_config
def get_config():
    config = tiny_config.get_config().unlock()
    config.evaluation.networks = ConfigDict({networks})
    config.evaluation.datasets = ConfigDict({datasets})
    return config
"""


def chosen(folder, networks, datasets):
    """The flag of a config that evaluates other networks and datasets."""
    path = folder / "chosen.py"
    path.write_text(CHOSEN.format(networks=networks, datasets=datasets))
    return f"--config={path}"


@pytest.mark.slow
def test_eval_takes_any_checkpoint_and_several_datasets(finished, tmp_path, capsys):
    networks = {"teacher": str(finished / "teacher"), "mine": str(finished)}
    options = {"num_classes": 20, "images_per_class": 4}
    datasets = {
        "again": {"source": "glyphs", "options": options},
        "seen": {"source": "glyphs", "split": "train", "options": options | {"seed": 1}},
    }
    config = chosen(tmp_path, networks, datasets)
    workdir = tmp_path / "w"
    arguments = ["--mode=eval", f"--workdir={workdir}"]
    assert command_line.main(["main", config, *arguments]) == 0
    results = json.loads((workdir / "evaluation" / "results.json").read_text())
    before = json.loads((finished / "results.json").read_text())["networks"]
    assert results["dataset"]["name"] == "again"
    assert results["networks"]["mine"]["metrics"] == before["student"]["metrics"]
    assert results["networks"]["teacher"]["metrics"] == before["teacher"]["metrics"]
    further = results["further_datasets"]["seen"]
    assert further["dataset"]["classes"] == 12
    assert set(further["networks"]) == {"teacher", "mine"}
    page = (workdir / "evaluation" / "report.html").read_text()
    assert "Nearest images on seen" in page
    # Both networks bring their own learning curve.
    assert page.count("Training loss, by step") == 2
    assert "again\n" in capsys.readouterr().out


def test_eval_takes_stored_embeddings_with_cameras(tmp_path):
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 4)
    for name, noise in (("teacher", 0.1), ("student", 0.5)):
        embeddings = np.eye(5)[labels] + noise * generator.normal(size=(20, 5))
        cameras = {"cameras": np.arange(20) % 2}
        np.savez(tmp_path / f"{name}.npz", embeddings=embeddings, labels=labels + 3, **cameras)
    # The student's in another format.
    parts = [("embeddings", "f8", (5,)), ("labels", "i8"), ("cameras", "i8")]
    records = np.zeros(20, parts)
    with np.load(tmp_path / "student.npz") as arrays:
        for part, _, *_ in parts:
            records[part] = arrays[part]
    np.save(tmp_path / "student.npy", records)
    networks = {"teacher": str(tmp_path / "teacher.npz"), "student": str(tmp_path / "student.npy")}
    config = chosen(tmp_path, networks, {})
    arguments = ["--mode=eval", f"--workdir={tmp_path / 'w'}"]
    assert command_line.main(["main", config, *arguments]) == 0
    results = json.loads((tmp_path / "w" / "evaluation" / "results.json").read_text())
    assert results["dataset"]["source"] == "stored embeddings"
    row = results["networks"]["teacher"]
    assert row["metrics"]["recall_at_1"] == row["reid"]["cmc_at_1"] == 1
    assert "parameters" not in row
    assert "agreement" in results["networks"]["student"]


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            "distractors={'source': 'glyphs'}",
            "evaluation.distractors: must be for a set with queries and a gallery (got 'test', "
            "where every image searches all others); leave it out",
        ),
        (
            "protocols={'verification': {}, 'reranking': {}}",
            "evaluation.protocols.reranking: must be for a set with queries and a gallery (got "
            "'test', where every image searches all others); leave it out",
        ),
        (
            "distractors={'split': 'test'}",
            "evaluation.distractors.source: must be str (got nothing)",
        ),
        (
            "distractors={'source': 'glyph'}",
            "evaluation.distractors.source: unknown name 'glyph'; did you mean 'glyphs'?",
        ),
    ],
)
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_what_needs_a_gallery_is_refused_before_training(
    mode, fields, line, copy, tmp_path, capsys
):
    workdir = copy if mode == "eval" else tmp_path / "new"
    assert run(workdir, f"--mode={mode}", f"--config.evaluation.{fields}") == 2
    said = capsys.readouterr().err
    assert f"error: {line}" in said
    assert not (tmp_path / "new" / "checkpoints").exists()


@pytest.mark.parametrize("split", slow_but({"test"}, [None, "test"]))
def test_distractors_are_embedded_by_every_network_and_stated(split, finished, tmp_path, capsys):
    """A gallery of glyphs, and glyphs of other classes beside it."""
    options = {"num_classes": 20, "images_per_class": 4}
    source = {"source": "marked", "options": {}}
    further = {"source": "glyphs", "options": options | {"seed": 3}}
    further |= {} if split is None else {"split": split}
    config = chosen(tmp_path, {"student": str(finished)}, {"people": source})
    arguments = [config, "--mode=eval", f"--workdir={tmp_path / 'w'}"]
    with mock.patch.dict(SOURCES, {"marked": marked}):
        assert command_line.main(["main", *arguments]) == 0
        plain = json.loads((tmp_path / "w/evaluation/results.json").read_text())
        flag = f"--config.evaluation.distractors={further}"
        assert command_line.main(["main", *arguments, flag]) == 0
    results = json.loads((tmp_path / "w/evaluation/results.json").read_text())
    splits = glyphs(path="", image_size=(16, 16), **(options | {"seed": 3}))
    count = len(splits["test"].labels) if split else sum(len(s.labels) for s in splits.values())
    assert results["dataset"]["distractors"]["images"] == count
    assert results["networks"]["student"]["reid"]["distractors"] == count
    before, after = (each["networks"]["student"] for each in (plain, results))
    assert after["metrics"] == before["metrics"]
    assert after["reid"]["mean_average_precision"] < before["reid"]["mean_average_precision"]
    assert f"across cameras, {count} distractors" in capsys.readouterr().out
    page = (tmp_path / "w/evaluation/report.html").read_text()
    assert f"Re-identification across cameras, {count} distractors" in page
    assert f"{count} images of glyphs are in the gallery too, and never right" in page


def marked(*, path, image_size):
    """The test glyphs of the tiny run, every other one a query by the first of two cameras."""
    split = glyphs(path=path, image_size=image_size, num_classes=20, images_per_class=4)["test"]
    first = np.arange(len(split.labels)) % 2 == 0
    return {"test": split._replace(cameras=np.where(first, 0, 1).astype(np.int32), queries=first)}


def test_protocols_are_measured_printed_and_reported(tmp_path, capsys):
    """Stored embeddings of a set with queries and cameras, re-ranked and verified."""
    generator = np.random.default_rng(1)
    labels = np.arange(30) % 6
    embeddings = np.eye(6)[labels] + 0.3 * generator.normal(size=(30, 6))
    marks = {"cameras": generator.integers(0, 3, 30), "queries": np.arange(30) % 4 == 1}
    np.savez(tmp_path / "a.npz", embeddings=embeddings, labels=labels, **marks)
    config = chosen(tmp_path, {"student": str(tmp_path / "a.npz")}, {})
    protocols = {"reranking": {"k1": 5, "k2": 2}, "verification": {"num_pairs": 80}}
    arguments = ["--mode=eval", f"--workdir={tmp_path / 'w'}"]
    field = "--config.evaluation.protocols"
    assert command_line.main(["main", config, *arguments, f"{field}={protocols}"]) == 0
    folder = tmp_path / "w" / "evaluation"
    (row,) = json.loads((folder / "results.json").read_text())["networks"].values()
    images = Embedded(embeddings, labels, **marks)
    assert row["protocols"] == {
        "reranking": reranking(images, k1=5, k2=2),
        "verification": verification(images, num_pairs=80),
    }
    tables = capsys.readouterr().out.split("\n\n")
    heads = [table.split("\n")[0].split() for table in tables]
    assert ["across", "cameras", "CMC@1", "CMC@5", "CMC@10", "CMC@20", "mAP", "mINP"] in heads
    assert any(head[:2] == ["verification", "ROC"] for head in heads)
    assert "Reranking, in %" in (folder / "report.html").read_text()
    for wrong, line in (
        ("{'rerank': {}}", "evaluation.protocols: unknown name 'rerank'"),
        ("{'reranking': {'k': 3}}", "evaluation.protocols.reranking.k: unknown field"),
    ):
        assert command_line.main(["main", config, *arguments, f"{field}={wrong}"]) == 2
        assert line in capsys.readouterr().err


@pytest.mark.parametrize(
    ("networks", "datasets", "line"),
    [
        ({"a": "nowhere"}, {}, "nowhere: does not exist, so no run was trained there"),
        ({"a": "no.npz"}, {}, "no.npz: must exist; write it with numpy.savez"),
        (
            {"a": "x.npz"},
            {"d": {"source": "glyphs"}, "e": {"source": "glyphs"}},
            "evaluation.networks.a: one file for 2 datasets; give {dataset: file} for d, e",
        ),
        (
            {"a": {"tset": "x.npz"}},
            {"test": {"source": "glyphs"}},
            "evaluation.networks.a: no dataset 'tset'; did you mean 'test'?",
        ),
        ({"a": 3}, {}, "evaluation.networks.a: must be the workdir of a finished run, a file of "),
        (
            {"a/b": "x.npz"},
            {},
            "evaluation.networks: names must be names of files, of letters, digits and _, with . + "
            "- and spaces between them (got 'a/b'); choose another",
        ),
        (
            {"images": "x.npz"},
            {},
            "evaluation.networks: names must not be 'images', which a file beside them has; choose",
        ),
        ({"a": "x\0.npz"}, {}, "evaluation.networks.a: must be the workdir of a "),
        ({}, {"d/e": {"source": "glyphs"}}, "evaluation.datasets: names must be names of files, "),
        (
            {},
            {"d": {"source": "omniglot", "path": "a\0b"}},
            "evaluation.datasets.d.path: must be text without the character of code 0 (got",
        ),
        (
            {},
            {"d": {"source": "glyphs", "spilt": "test"}},
            "evaluation.datasets.d.spilt: unknown field; did you mean 'split'?",
        ),
        (
            {},
            {"d": {"source": "glyphs", "split": "tests"}},
            "evaluation.datasets.d.split: must be 'train' or 'validation' or 'test' (got 'tests' ",
        ),
        ({}, {"d": {}}, "evaluation.datasets.d.source: must be str (got nothing)"),
        (
            {},
            {"d": {"source": "glyph"}},
            "evaluation.datasets.d.source: unknown name 'glyph'; did you mean 'glyphs'?",
        ),
    ],
)
def test_refuses_an_evaluation_in_one_line(networks, datasets, line, capsys, tmp_path):
    config = chosen(tmp_path, networks, datasets)
    said = refusal(capsys, config, "--mode=eval", f"--workdir={tmp_path / 'w'}")
    assert said.startswith(line)


def test_refuses_stored_embeddings_of_other_images(finished, capsys, tmp_path):
    np.savez(tmp_path / "x.npz", embeddings=np.eye(3), labels=np.array([0, 0, 1]))
    networks = {"a": str(tmp_path / "x.npz"), "b": str(finished)}
    said = refusal(capsys, chosen(tmp_path, networks, {}), "--mode=eval")
    assert said == (
        f"{tmp_path / 'x.npz'}: its 3 labels are not those of the 20 images of 'test'; embed the "
        "same images in their order"
    )


def test_eval_does_not_pass_off_other_data_as_the_runs_own(copy, capsys):
    said = refusal(
        capsys, CONFIG, f"--workdir={copy}", "--mode=eval", "--config.data.options.num_classes=40"
    )
    assert said.endswith(
        "holds a run whose data.options.num_classes is 20, not 40; leave out --config, or give "
        "its own; another dataset goes to evaluation.datasets"
    )


def test_eval_needs_a_trained_run(capsys, tmp_path):
    said = refusal(capsys, CONFIG, f"--workdir={tmp_path / 'w'}", "--mode=eval")
    assert said.startswith(f"{tmp_path / 'w'}: does not exist, so no run was trained there")
    said = refusal(capsys, "--mode=eval")
    assert said.startswith("--workdir: must be given with --mode eval")
