"""Runs on images without labels, alone and beside labelled ones."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from darkrank_jax.config.reader import read_run
from darkrank_jax.data.sources.glyphs import glyphs
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.runs.datasets import datasets_of
from darkrank_jax.runs.evaluate import evaluate, evaluate_and_report
from darkrank_jax.runs.preflight import check_sizes, summary
from darkrank_jax.runs.splits import Splits
from darkrank_jax.runs.train import train, train_and_report
from darkrank_jax.training import checkpoints
from darkrank_jax.training.batches import Batches
from darkrank_jax.workdir.metrics_log import read_log
from tests import tiny_config
from tests.small_runs import changed, refusal

LABELLED = {"seen": {"source": "glyphs", "options": {"num_classes": 20, "images_per_class": 4}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """60 images in folders that are no classes."""
    path = tmp_path_factory.mktemp("unlabelled") / "images"
    images = glyphs(image_size=16, num_classes=30, images_per_class=4, seed=5)["train"].images
    for row, image in enumerate(images[:60]):
        (path / f"part {row % 3}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[:, :, 0]).save(path / f"part {row % 3}" / f"{row}.png")
    return path


def alone(folder, teacher, **changes):
    """A student that sees images without labels alone."""
    config = tiny_config.small()
    config.data.source = "unlabelled"
    config.data.path = str(folder)
    config.data.options = ConfigDict({"grayscale": True, "validation_images": 12})
    config.data.sampler.name = "random"
    config.losses = ConfigDict({"rkd_distance": {"weight": 1.0}})
    config.teacher = tiny_config.small()
    config.teacher.losses = ConfigDict({"triplet": {"weight": 1.0, "margin": 0.2}})
    config.teacher.checkpoint = str(teacher)
    config.update(changes)
    return config


def beside(folder, share=0.5, **losses):
    """A student that sees them beside glyphs with labels."""
    config = tiny_config.small()
    options = {"grayscale": True, "validation_images": 12}
    config.data.unlabelled = ConfigDict({"path": str(folder), "share": share, "options": options})
    config.losses = ConfigDict(losses)
    config.teacher = tiny_config.small()
    config.teacher.losses = ConfigDict({"triplet": {"weight": 1.0, "margin": 0.2}})
    return config


def read(config):
    return read_run(config.to_dict())


@pytest.mark.slow
def test_a_run_without_labels_chooses_by_agreement_and_is_measured_where_labels_are(
    folder, workdir, tmp_path, capsys
):
    run = read(alone(folder, workdir))
    train_and_report(run, tmp_path / "run")
    said = capsys.readouterr().out
    assert "unlabelled images: 48 to train on, 12 to validate on" in said
    assert "evaluation.datasets" in said
    assert not (tmp_path / "run" / "results.json").exists()
    scores = [
        (row["validation/overlap_at_10"], row["step"])
        for row in read_log(tmp_path / "run")
        if "validation/overlap_at_10" in row
    ]
    assert [step for _, step in scores] == [4, 8]
    assert checkpoints.best_step(tmp_path / "run") == max(scores)[1]
    measured = read(alone(folder, workdir, evaluation=ConfigDict({"datasets": LABELLED})))
    target = evaluate_and_report(measured, tmp_path / "run")
    found = json.loads((target / "results.json").read_text())
    assert found["dataset"]["name"] == "seen"
    assert {"student", "teacher"} == found["networks"].keys()
    # A dataset that training itself can measure on.
    train_and_report(measured, tmp_path / "other")
    assert json.loads((tmp_path / "other" / "results.json").read_text())["networks"]["student"]


def test_images_without_labels_are_the_end_of_each_batch(folder, workdir, tmp_path):
    config = beside(folder, triplet={"weight": 1.0}, rkd_distance={"weight": 1.0})
    config.teacher.checkpoint = str(workdir)
    config.baseline = ConfigDict({"triplet": {"weight": 1.0}})
    run = read(config)
    assert (run.data.num_labelled, run.data.num_unlabelled) == (4, 4)
    assert (run.baseline_run.data.batch_size, run.baseline_run.data.unlabelled) == (4, {})
    splits = Splits()
    networks = check_sizes(run, splits)
    assert summary(run, networks, splits, tmp_path).count("; 48 unlabelled images") == 1
    split = splits[run.data]["train"]
    assert (split.num_labelled, len(split.labels)) == (48, 96)
    with Batches(split, run.data, run.data.sampler, 0, 6, split).stream(0) as stream:
        batches = list(stream)
    seen = np.concatenate([batch["rows"][4:] for batch in batches])
    for batch in batches:
        assert (batch["labels"][:4] == split.labels[batch["rows"][:4]]).all()
        assert (batch["labels"][:4] >= 0).all()
        assert (batch["labels"][4:] == -1).all()
    assert seen.min() >= 48
    assert len(np.unique(seen)) > 12


@pytest.mark.slow
@pytest.mark.parametrize("views", [0, 2])
def test_stored_outputs_of_a_joined_batch_are_those_of_the_teacher(
    folder, workdir, tmp_path, views
):
    config = beside(folder, triplet={"weight": 1.0}, rkd_distance={"weight": 1.0})
    config.teacher.checkpoint = str(workdir)
    config.data.views = views
    config.update({"steps": 3, "log_every": 1, "eval_every": 3})
    live = losses(config, tmp_path / "live")
    config.store_teacher = True
    np.testing.assert_allclose(losses(config, tmp_path / "stored"), live, rtol=1e-4)
    assert len(live) == 3


def losses(config, workdir):
    run = read(config)
    train(run, Splits(), workdir, "student", make_mesh(run.data.batch_size))
    return [row["loss"] for row in read_log(workdir) if "loss" in row]


REFUSED = {
    "losses.triplet: learns from labels": {"losses": {"triplet": {"weight": 1.0}}},
    "baseline.triplet: learns from labels": {"baseline": {"triplet": {"weight": 1.0}}},
    "data.sampler.name: must be random": {"data__sampler__name": "p_x_k"},
    "data.path: must hold at least 55 images": {"data__path": "few"},
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_needs_labels_is_refused_where_there_are_none(line, folder, workdir, tmp_path):
    Image.new("L", (16, 16)).save(tmp_path / "one.png")
    fields = {"data__path": str(tmp_path)} if "path" in line else REFUSED[line]
    run = read(changed(alone(folder, workdir), **fields))
    assert refusal(check_sizes, run, Splits()).startswith(line)


@pytest.mark.parametrize("share", [0.0, 1.0, 0.3])
def test_a_share_that_no_batch_has_is_refused(share, folder):
    config = beside(folder, share, triplet={"weight": 1.0})
    assert refusal(read, config).startswith("data.unlabelled.share: must be between 0 and 1 and ")


def test_images_of_other_channels_or_crop_cannot_be_joined(folder):
    config = beside(folder, triplet={"weight": 1.0})
    config.data.unlabelled.options.grayscale = False
    assert "give both the same data.options.grayscale" in refusal(lambda: loaded(config))
    config.data.unlabelled.options = ConfigDict({"grayscale": True, "center_crop": 0.5})
    assert refusal(lambda: loaded(config)).startswith("data.unlabelled.options.center_crop: must ")


def loaded(config):
    return Splits()[read(config).data]["train"]


def test_evaluation_of_images_without_labels_is_refused(folder, workdir, tmp_path):
    run = read(alone(folder, workdir))
    found = datasets_of(run.evaluation, run.data)
    line = refusal(lambda: evaluate("run", {}, found, Splits(), make_mesh(8), seed=0))
    assert line.startswith("evaluation: the images of 'test' have no labels to measure by; name")
