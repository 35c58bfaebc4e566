"""A config read into a run."""

import pytest

from darkrank_jax.config.reader import read_run
from darkrank_jax.errors import UserError
from tests import devices_config, tiny_config
from tests.command import CONFIG, refusal


@pytest.mark.parametrize("stored", ["store_teacher", "teacher.embeddings"])
def test_refuses_mixed_images_that_a_teacher_cannot_see(stored):
    config = tiny_config.small()
    config.losses = {"rkd_angle": {"weight": 1.0}}
    config.mixup, config.teacher = 0.5, tiny_config.small()
    config.teacher.losses = {"triplet": {"weight": 1.0}}
    assert read_run(config.to_dict()).baseline_run.mixup == 0
    if stored == "store_teacher":
        config.store_teacher = True
    else:
        config.teacher.embeddings = "e.npz"
    with pytest.raises(UserError) as error:
        read_run(config.to_dict())
    assert str(error.value) == (
        f"mixup: must be 0 beside {stored}, which is of images as they are (got 0.5); leave one "
        "of them out"
    )


def test_refuses_chunks_that_tear_classes_apart():
    config = devices_config.get_config().unlock()
    config.chunks = 3
    with pytest.raises(
        UserError,
        match=r"^data\.batch_size: must be divisible by chunks \* .* = 6 \(got 16\); give",
    ):
        read_run(config.to_dict())


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("stpes=3", "--config.stpes: no field 'stpes' in the config; did you mean 'steps'?"),
        (
            "losses.kd.temprature=3",
            "--config.losses.kd.temprature: no field 'temprature' in the config; did you mean "
            "'temperature'?",
        ),
        (
            "losses.kdd.temperature=3",
            "--config.losses.kdd.temperature: no field 'kdd' in the config; did you mean "
            "--config.losses.kd.temperature?",
        ),
        (
            "losses.kdd.weigth=3",
            "--config.losses.kdd.weigth: no field 'kdd' in the config; did you mean 'kd'?",
        ),
        (
            "batch_size=8",
            "--config.batch_size: no field 'batch_size' in the config; did you mean "
            "--config.data.batch_size?",
        ),
        (
            "student.batch_size=8",
            "--config.student.batch_size: no field 'student' in the config; did you mean "
            "--config.data.batch_size?",
        ),
        (
            "teacher.batch_size=8",
            "--config.teacher.batch_size: no field 'batch_size' in the config; did you mean "
            "--config.teacher.data.batch_size?",
        ),
        (
            "weights.prefix=model",
            "weights.prefix: must be empty without weights.path (got 'model'); give weights.path",
        ),
        (
            "teacher.weights.ignore=('head.',)",
            "teacher.weights.ignore: must be empty without teacher.weights.path (got ('head.',)); "
            "give teacher.weights.path",
        ),
        (
            "data.options.num_clases=3",
            "--config.data.options.num_clases: no field 'num_clases' in the config; did you mean "
            "'num_classes'?",
        ),
        (
            "evaluation.datasets.x=3",
            "--config.evaluation.datasets.x: no field 'x' in the config; there is none; state it "
            "in the config file",
        ),
        ("steps.x=3", "--config.steps.x: steps is a value and has no fields; set it whole"),
        (
            "data.options.seed=first",
            "--config.data.options.seed: must be a whole number (got 'first')",
        ),
        (
            "teacher.model.stem=smal",
            "teacher.model.stem: must be 'imagenet' or 'deep' or 'strided' or 'small' (got 'smal' "
            "(str))",
        ),
        ("steps=many", "--config.steps: must be a whole number (got 'many')"),
        ("steps=0", "steps: must be at least 1 (got 0)"),
        ("ema_decay=1.0", "ema_decay: must be less than 1 (got 1.0)"),
        (
            "teacher.hook=trackers.Mine",
            "teacher.hook: must be empty (got 'trackers.Mine'); the hook of the whole run hears of "
            "its teachers too",
        ),
        (
            "learning_rates={'backbone': -0.1}",
            "learning_rates.backbone: must be a factor of learning_rate, at least 0 (got -0.1)",
        ),
        (
            "learning_rates={'bakbone': 0.1}",
            "learning_rates: unknown name 'bakbone'; did you mean 'backbone'?",
        ),
        ("layer_decay=0.0", "layer_decay: must be more than 0 and at most 1 (got 0.0)"),
        (
            "teacher.layer_decay=1.5",
            "teacher.layer_decay: must be more than 0 and at most 1 (got 1.5)",
        ),
        (
            "epochs=3.5",
            "epochs: must be 0 beside steps of 8 (got 3.5); set one of them to 0",
        ),
        (
            "teacher.warmup_epochs=1.5",
            "teacher.warmup_epochs: must be 0 beside teacher.schedule.warmup_steps of 2 (got 1.5); "
            "set one of them to 0",
        ),
        ("epochs=-1.0", "epochs: must be at least 0 (got -1.0)"),
        (
            "mixup=0.5",
            "mixup: must be 0 beside losses.kd, which learns from labels (got 0.5); name losses "
            "that compare with a teacher alone",
        ),
        ("data.std=0.0", "data.std: must be more than 0 (got 0.0)"),
        ("model.name=resnet19", "model.name: unknown name 'resnet19'; did you mean 'resnet18'?"),
        (
            "model.stem=smal",
            "model.stem: must be 'imagenet' or 'deep' or 'strided' or 'small' (got 'smal' (str))",
        ),
        ("data.source=glyph", "data.source: unknown name 'glyph'; did you mean 'glyphs'?"),
        ("optimizer.name=adam", "optimizer.name: unknown name 'adam'; did you mean 'adamw'?"),
        ("schedule.name=cosinus", "schedule.name: unknown name 'cosinus'; did you mean 'cosine'?"),
        (
            "data.batch_size=9",
            "data.batch_size: must hold whole classes of 2 images "
            "(data.images_per_class) (got 9 images); give a multiple of 2",
        ),
        (
            "data.batch_size=10",
            "data.batch_size: 10 images do not divide over 4 devices; give a multiple of 4",
        ),
        (
            "teacher.data.batch_size=6",
            "teacher.data.batch_size: 6 images do not divide over 4 devices; give a multiple of 4",
        ),
        (
            "teacher.data.batch_size=48",
            "teacher.data.batch_size: 48 images at 2 a class (teacher.data.images_per_class) need "
            "24 classes, and the training split has 12; give at most 24, or more images a class",
        ),
        (
            "teacher.data.batch_size=9",
            "teacher.data.batch_size: must hold whole classes of 2 images "
            "(teacher.data.images_per_class) (got 9 images); give a multiple of 2",
        ),
        ("learning_rate=0.0", "learning_rate: must be more than 0 (got 0.0)"),
        ("teacher.learning_rate=-1.0", "teacher.learning_rate: must be more than 0 (got -1.0)"),
        ("optimizer.weight_decay=-1.0", "optimizer.weight_decay: must be at least 0 (got -1.0)"),
        ("schedule.warmup_steps=-1", "schedule.warmup_steps: must be at least 0 (got -1)"),
        (
            "losses.kd.weight.warmup_steps=-2",
            "losses.kd.weight.warmup_steps: must be at least 0 (got -2)",
        ),
        (
            "losses.kd.weight.value=inf",
            "losses.kd.weight: must be a number or a schedule with a value (got inf)",
        ),
        ("seed=-1", "seed: must be at least 0 (got -1)"),
        *(
            (
                f"{field}={seed}",
                f"{field}: must be an integer from 0 to 4294967295 (got {seed}); give another",
            )
            for field in ("seed", "teacher.seed")
            for seed in (2**32, 20261127141500, 2**70)
        ),
        (
            "data.options.seed=4294967296",
            "data.options.seed: must be 0 to 4294967295 (got 4294967296)",
        ),
        (
            "schedule=cosine",
            "--config.schedule: must be a mapping (got 'cosine'); give "
            "--config.schedule.name=cosine",
        ),
        (
            "model=resnet50",
            "--config.model: must be a mapping (got 'resnet50'); give --config.model.name=resnet50",
        ),
        ("baseline=[1]", "--config.baseline: must be a mapping (got '[1]'); give its fields"),
        ("steps=1e3", "--config.steps: must be a whole number (got '1e3')"),
        ("steps=None", "--config.steps: must be a whole number (got 'None')"),
        ("remat=maybe", "--config.remat: must be true or false (got 'maybe')"),
        ("learning_rate=slow", "--config.learning_rate: must be a number (got 'slow')"),
        ("ema_decay=nan", "ema_decay: must be a finite number (got nan)"),
        ("model.width=0", "model.width: must be more than 0 (got 0)"),
        ("teacher.model.width=-3", "teacher.model.width: must be more than 0 (got -3)"),
        ("model.embedding_dim=-1", "model.embedding_dim: must be at least 0 (got -1)"),
        (
            "data.images_per_class=1",
            "baseline.triplet: learns from images of the same class, and a batch has 1 of each "
            "(data.images_per_class); give at least 2",
        ),
        (
            "data.batch_size=48",
            "data.batch_size: 48 images at 2 a class (data.images_per_class) need 24 classes, and "
            "the training split has 12; give at most 24, or more images a class",
        ),
        (
            "teacher.data.image_size=(24, 16)",
            "teacher.data.image_size: must have the shape of the student's 16 x 16 (got 24 x 16); "
            "they see the same part of a picture",
        ),
        (
            "checkpoint=somewhere",
            "checkpoint: is for a teacher; leave it empty to train this network",
        ),
        (
            "teacher.checkpoint=nowhere",
            "nowhere: does not exist, so no run was trained there; train it first",
        ),
        (
            "data.options.num_classes=99999",
            "data.options.num_classes: must be at most 2687, the characters of the fonts (got "
            "99999)",
        ),
    ],
)
def test_refuses_a_config_in_one_line(change, line, capsys, tmp_path):
    said = refusal(capsys, CONFIG, f"--workdir={tmp_path / 'w'}", f"--config.{change}")
    assert said == line
    assert not (tmp_path / "w" / "checkpoints").exists()
