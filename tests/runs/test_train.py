"""Teachers from elsewhere: imported weights, ensembles, chains, and the batches they choose."""

import json

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from darkrank_jax import main as command_line
from darkrank_jax.config.reader import read_run
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.models.pretrained import load_resnet
from darkrank_jax.runs import train as runs
from darkrank_jax.runs.evaluate import evaluate_and_report
from darkrank_jax.runs.preflight import check_sizes
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training import loop
from darkrank_jax.workdir.metrics_log import read_log
from tests.small_runs import (
    WEIGHTS,
    changed,
    ensemble,
    imported,
    read,
    refusal,
    small,
    stored,
    student,
)

pytestmark = pytest.mark.usefixtures("source")


def checked(config):
    check_sizes(read_run(config.to_dict()), Splits())


@pytest.mark.slow
def test_the_command_line_takes_a_teacher_of_torchvisions_weights(tmp_path, capsys):
    """As docs/pretrained.md shows it, from a config file and a flag to results."""
    path = tmp_path / "config.py"
    path.write_text(
        "from tests import small_runs as configs\n"
        "def get_config():\n    return configs.student(configs.imported()).lock()\n"
    )
    workdir = tmp_path / "run"
    arguments = [f"--config={path}", f"--workdir={workdir}"]
    weights = "--config.teacher.weights.path"
    pickle = tmp_path / "weights.pth"
    assert command_line.main(["main", *arguments, f"{weights}={pickle}"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(
        f"error: {pickle}: is a pickle, which can run any code and is not opened"
    )
    assert not workdir.exists()
    mean = "--config.teacher.data.mean=(0.5, 0.4, 0.3)"
    assert command_line.main(["main", *arguments, f"{weights}={WEIGHTS}", mean]) == 0
    said = capsys.readouterr().out
    size = sum(leaf.size for leaf in jax.tree.leaves(load_resnet(WEIGHTS)["params"]))
    assert f"teacher   resnet18, {size:,} parameters, from {WEIGHTS}\n" in said
    teacher = json.loads((workdir / "results.json").read_text())["networks"]["teacher"]
    assert (teacher["parameters"], teacher["steps"], teacher["training_seconds"]) == (size, 0, 0)


@pytest.mark.slow
def test_an_ensemble_of_weights_and_a_chain_teaches(tmp_path, capsys):
    """The student's teacher is an ensemble; a member of it has learnt from a teacher itself."""
    assistant = student(imported())
    run = read(student(ensemble(weights=imported(), assistant=assistant)))
    runs.train_and_report(run, tmp_path)
    size = sum(leaf.size for leaf in jax.tree.leaves(load_resnet(WEIGHTS)["params"]))
    said = capsys.readouterr().out
    assert "teacher   concatenation of resnet10, " in said
    assert f"; resnet18, {size:,} parameters, from {WEIGHTS}\n" in said
    networks = json.loads((tmp_path / "results.json").read_text())["networks"]
    assert list(networks) == ["teacher", "student"]
    assert networks["teacher"]["parameters"] == size + networks["student"]["parameters"]
    assert networks["teacher"]["model"] == {
        "name": "concatenation",
        "weights": "resnet18",
        "assistant": "resnet10",
    }
    assert (tmp_path / "teacher" / "assistant" / "run.json").exists()
    assert not (tmp_path / "teacher" / "weights").exists()
    assert [row["losses/rkd_distance"] > 0 for row in read_log(tmp_path) if "loss" in row] == [True]
    (tmp_path / "results.json").unlink()
    evaluate_and_report(run, tmp_path)
    again = json.loads((tmp_path / "results.json").read_text())["networks"]
    assert again["teacher"]["metrics"] == networks["teacher"]["metrics"]


@pytest.mark.slow
def test_the_baseline_sees_the_batches_that_the_teacher_chose_for_the_student(
    tmp_path, monkeypatch
):
    np.save(tmp_path / "e.npy", np.random.default_rng(0).normal(size=(48, 5)))
    config = student(stored(tmp_path / "e.npy"), steps=2, eval_every=2)
    config.baseline = ConfigDict({"triplet": {"weight": 1.0}})
    config.data.sampler = ConfigDict({"name": "hard_classes", "group": 2, "pool": 2})
    seen, original = [], loop.put

    def put(tree, sharding):
        if isinstance(tree, dict) and "rows" in tree:
            seen.append(tree["rows"].tolist())
        return original(tree, sharding)

    monkeypatch.setattr(loop, "put", put)
    run = read(config)
    for name, part in (("baseline", run.baseline_run), ("student", run)):
        runs.train(part, Splits(), tmp_path / name, name, make_mesh(8, jax.devices()[:1]))
    assert len(seen) == 4
    assert seen[:2] == seen[2:]
    assert seen[0] != seen[1]


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (lambda: small(steps=0), "steps: must be at least 1 (got 0)"),
        (
            lambda: changed(small(), ensemble=ConfigDict({"a": imported()})),
            "ensemble: is for a teacher; leave it empty to train this network",
        ),
        (
            lambda: changed(small(), embeddings="e.npz"),
            "embeddings: is for a teacher; leave it empty to train this network",
        ),
        (
            lambda: student(small(steps=0)),
            "teacher.steps: must be at least 1 without teacher.weights.path (got 0); give a",
        ),
        (
            lambda: student(imported(embedding_dim=4)),
            "teacher.weights.head: must not be empty with teacher.steps of 0, or the embedding is ",
        ),
        (
            lambda: student(changed(imported(), weights__head="fc")),
            "teacher.weights.head: makes the embedding, and teacher.model.embedding_dim is 0; give",
        ),
        (
            lambda: changed(small(), weights__head="fc"),
            "weights.head: must be empty without weights.path (got ",
        ),
        (
            lambda: student(changed(imported(), weights__ignore=("neck.", ""))),
            "teacher.weights.ignore: must be what names begin with (got ('neck.', '')); give texts",
        ),
        (
            lambda: changed(small(), weights__hed="fc"),
            "weights.hed: unknown field; did you mean 'head'?",
        ),
        (
            lambda: changed(small(), model__embedding_dim=-1),
            "model.embedding_dim: must be at least 0 (got -1)",
        ),
        (
            lambda: student(changed(stored("e.npz"), checkpoint="runs/a")),
            "teacher.embeddings: stands beside teacher.checkpoint; a teacher comes from one of",
        ),
        (
            lambda: student(ensemble(a=stored("e.npz"))),
            "teacher.ensemble.a.embeddings: an ensemble is of networks; combine the vectors",
        ),
        (
            lambda: student(ensemble(**{"a/b": imported()})),
            "teacher.ensemble: names must be names of files, of letters, digits and _, with . + - "
            "and spaces between them (got 'a/b'); choose another",
        ),
        (
            lambda: student(ensemble(outputs=imported())),
            "teacher.ensemble: names must not be 'outputs', which a file beside them has; choose",
        ),
        (
            lambda: student(small(checkpoint="a\0b")),
            "teacher.checkpoint: must be text without the character of code 0 (got 'a\\x00b')",
        ),
        (
            lambda: student(ensemble("sum", a=imported())),
            "teacher.combine: must be 'concatenation' or 'mean' (got 'sum' (str))",
        ),
        (
            lambda: student(ensemble(a=imported(), b=changed(imported(), data__image_size=32))),
            "teacher.ensemble.b.data.image_size: must be 16, as of the first of the ensemble (got "
            "32); give all members the same",
        ),
        (
            lambda: changed(
                student(changed(imported(), data__image_size=32)),
                data__augmentation=ConfigDict({"random_crop": {"padding": 2}}),
            ),
            "data.augmentation.random_crop: moves by pixels, and teacher and student have images "
            "of different sizes; use resized_random_crop or random_affine",
        ),
        (
            lambda: changed(
                student(stored("e.npz")), losses=ConfigDict({"fitnet": {"weight": 1.0}})
            ),
            "losses.fitnet: takes teacher_features, and of this teacher there is only "
            "teacher_embeddings; name other losses",
        ),
        (
            lambda: changed(student(imported()), losses=ConfigDict({"kd": {"weight": 1.0}})),
            "losses.kd: takes teacher_logits, and of this teacher there is only teacher_emb",
        ),
        (
            lambda: changed(small(), data__mean=(0.5, "x")),
            "data.mean: must be a number, or one a channel (got (0.5, 'x'))",
        ),
        (
            lambda: changed(small(), data__std=(0.5, 0.0, 0.5)),
            "data.std: must be more than 0 (got (0.5, 0.0, 0.5))",
        ),
    ],
)
def test_refuses_a_teacher_in_one_line(config, line):
    assert refusal(read_run, config().to_dict()).startswith(line)


def test_refuses_before_anything_is_compiled_what_the_files_show(tmp_path):
    path = tmp_path / "weights.pth"
    line = refusal(checked, student(changed(imported(), weights__path=str(path))))
    assert line.startswith(f"{path}: is a pickle, which can run any code and is not opened; docs/")
    line = refusal(checked, student(imported(width=16)))
    assert f"{WEIGHTS}: is of another architecture; of another shape: bn1." in line
    wide = small()
    wide.model.embedding_dim = 4
    line = refusal(checked, student(ensemble("mean", a=imported(), b=wide)))
    assert line.startswith("teacher.ensemble: embeddings of 4 and 64 numbers have no mean; give")
    line = refusal(checked, student(changed(imported(), data__mean=(0.5, 0.5))))
    assert line.startswith("teacher.data.mean: has 2 numbers, and images have 3 channels; give one")
    np.save(tmp_path / "e.npy", np.ones((2, 3)))
    line = refusal(checked, student(stored(tmp_path / "e.npy")))
    assert "e.npy: has no vector for 46 of 48 training images: 2, 3, 4, 5, 6 and 41 more;" in line
