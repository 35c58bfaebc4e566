"""Half of Cars-196: does DarkRank help on photographs that two cores can train on?

DIR holds cars196_half/cars196_half_96px.zip: class folders 001 to 196 of photographs cropped to the
car, the shorter side 96 pixels. Classes 1 to 98 train, 99 to 196 test.

Command:   DARKRANK_DATA=DIR python -m darkrank_jax.main --config configs/cars196_half.py
Hardware:  2 CPU cores
Time:      not measured by itself; the 52 runs of experiments/cars196_half take 41 minutes
Result:    experiments/cars196_half, three seeds, 2026-11
"""

import os

from ml_collections import ConfigDict

from configs import default

SOFTMAX = {"weight": 1.0, "temperature": 0.1}
ARCHIVE = "cars196_half/cars196_half_96px.zip"


def get_config() -> ConfigDict:
    student = common()
    student.model.update({"name": "resnet10", "width": 8})
    student.steps = 1500
    student.losses = ConfigDict(
        {"normalized_softmax": SOFTMAX, "darkrank_soft": default.whole_lists()}
    )
    student.baseline = ConfigDict({"normalized_softmax": SOFTMAX})
    student.teacher = teacher()
    default.share_images(student)
    return student.lock()


def teacher() -> ConfigDict:
    config = common()
    config.model.update({"name": "resnet18", "width": 16})
    config.steps = 3000
    config.losses = ConfigDict({"normalized_softmax": SOFTMAX})
    return config


def common() -> ConfigDict:
    """What teacher and student share."""
    config = default.get_config().unlock()
    config.data.source = "images"
    config.data.path = os.path.join(os.environ.get("DARKRANK_DATA", ""), ARCHIVE)
    config.data.options = ConfigDict({"num_train_classes": 98})
    config.data.image_size = 48
    config.data.mean = (0.485, 0.456, 0.406)
    config.data.std = (0.229, 0.224, 0.225)
    config.data.batch_size = 64
    config.data.augmentation = ConfigDict(
        {"random_resized_crop": {"area": (0.4, 1.0)}, "horizontal_flip": {}}
    )
    config.model.update({"stem": "strided", "embedding_dim": 64})
    config.learning_rate = 3e-3
    config.eval_every = 500
    return config
