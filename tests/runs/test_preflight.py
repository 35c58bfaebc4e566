"""What is refused before a run starts."""

import dataclasses
import functools
import json

import pytest
from ml_collections import ConfigDict

from darkrank_jax.config.reader import read_run
from darkrank_jax.data import SOURCES
from darkrank_jax.runs import shapes
from darkrank_jax.runs.preflight import check_sizes, summary
from darkrank_jax.runs.splits import Splits
from tests.claims import claim
from tests.runs.tried_configs import config, refusal
from tests.small_runs import ensemble, imported, read, small, student


@pytest.mark.parametrize(
    ("augmentation", "line"),
    [
        ({"random_affine": {"degrees": -5.0}}, "random_affine: cannot be done (high - low < 0);"),
        ({"random_crop": {"padding": -1}}, "random_crop: cannot be done (index can't contain "),
        # Of every second image alone.
        ({"random_erasing": {"area": (0.5, 0.1)}}, "random_erasing: cannot be done (high - low"),
    ],
)
def test_options_of_augmentation_are_tried(augmentation, line):
    found = config({"triplet": {"weight": 1.0}})
    found.data.augmentation = ConfigDict(augmentation)
    assert refusal(found).startswith(f"data.augmentation.{line}")


def test_a_teacher_does_not_train_on_classes_that_the_student_is_measured_on():
    found = config({"rkd_distance": {"weight": 1.0}}, teacher=True)
    check_sizes(read_run(found.to_dict()), Splits())
    found.teacher.data.options.num_classes = 40
    run = read_run(found.to_dict())
    seen = set(Splits()[run.teacher.data]["train"].class_names)
    validation = Splits()[run.data]["validation"].class_names
    both = sorted(seen.intersection(validation))
    assert both
    assert refusal(found) == (
        f"teacher.data.options: the teacher trains on {len(both)} of the {len(validation)} "
        f"validation classes of data, such as {both[0]!r}; give both the same options"
    )


def test_kd_compares_logits_of_the_same_classes(monkeypatch):
    softmax = {"normalized_softmax": {"weight": 1.0}}
    found = config({**softmax, "kd": {"weight": 1.0}}, teacher=True)
    check_sizes(read_run(found.to_dict()), Splits())
    # Fewer images, and the same classes.
    found.teacher.data.options.images_per_class = 3
    check_sizes(read_run(found.to_dict()), Splits())
    original = SOURCES["glyphs"]

    def turned(**options):
        """The teacher's classes in another order."""
        splits = original(**options)
        if options["images_per_class"] == 3:
            train = splits["train"]
            splits = splits | {"train": train._replace(class_names=train.class_names[::-1])}
        return splits

    monkeypatch.setitem(SOURCES, "glyphs", functools.wraps(original)(turned))
    assert refusal(found) == (
        "teacher.data.options: kd compares class logits, and the teacher trains on other classes "
        "than data; give both the same options"
    )


def test_a_checkpoint_was_trained_on_what_its_own_run_says(tmp_path):
    """The config that names it says nothing of its classes."""
    trained = config({"normalized_softmax": {"weight": 1.0}})
    trained.data.options.num_classes = 40
    claim(tmp_path, read_run(trained.to_dict()), channels=1, num_classes=24)
    found = config({"rkd_distance": {"weight": 1.0}}, teacher=True)
    found.teacher.checkpoint = str(tmp_path)
    assert refusal(found).startswith("teacher.data.options: the teacher trains on ")


def test_a_checkpoint_states_its_options_or_leaves_them_out(tmp_path):
    trained = config({"normalized_softmax": {"weight": 2.0, "temperature": 0.05}})
    run = read_run(trained.to_dict())
    defaults = {"normalize": True, "pooling": "average", "dtype": "float32"}
    claim(tmp_path, dataclasses.replace(run, model=run.model | defaults), channels=1, num_classes=9)
    found = config({"rkd_distance": {"weight": 1.0}}, teacher=True)
    found.teacher.checkpoint = str(tmp_path)
    found.teacher.losses = ConfigDict({"normalized_softmax": {"weight": 1.0, "temperature": 0.05}})
    check_sizes(read_run(found.to_dict()), Splits())
    found.teacher.losses.normalized_softmax.temperature = 0.1
    assert refusal(found) == (
        f"teacher.losses.normalized_softmax.temperature: must be 0.05, with which "
        f"{tmp_path} was trained (got 0.1)"
    )
    facts = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(facts | {"channels": 3}))
    found.teacher.losses.normalized_softmax.temperature = 0.05
    assert refusal(found) == (
        f"teacher.checkpoint: {tmp_path} takes images of 3 channels, and those of teacher.data "
        "have 1; give another"
    )


@pytest.mark.usefixtures("source")
def test_each_network_is_built_once_and_described(monkeypatch, tmp_path):
    built = []
    original = shapes.build

    def counting(run, **sizes):
        built.append(run.model["embedding_dim"])
        return original(run, **sizes)

    monkeypatch.setattr(shapes, "build", counting)
    found = student(ensemble(a=imported(), b=small(steps=7)))
    found.baseline = ConfigDict({"triplet": {"weight": 1.0}})
    run, splits = read(found), Splits()
    networks = check_sizes(run, splits)
    named = {
        "": run,
        "teacher.ensemble.a.": run.teacher.ensemble["a"],
        "teacher.ensemble.b.": run.teacher.ensemble["b"],
    }
    lines = summary(run, networks, splits, tmp_path).splitlines()
    assert sorted(built) == sorted(each.model["embedding_dim"] for each in named.values())
    assert set(networks) == {*named, "teacher."}
    size = {name: f"{networks[name].num_parameters():,} parameters" for name in named}
    assert lines[2].startswith("teacher   concatenation of resnet18, ")
    assert size["teacher.ensemble.a."] in lines[2]
    assert f"{size['teacher.ensemble.b.']}, 7 steps of " in lines[2]
    assert f"{size['']}, {run.steps} steps of triplet" in lines[3]
    assert lines[4].startswith("student ")
    assert lines[5] == f"writes    {tmp_path}"
