"""Omniglot: does DarkRank help a narrow student on alphabets that it has not seen?

Trained on the background alphabets, tested on the evaluation alphabets. DIR holds the authors'
images_background.zip and images_evaluation.zip.

Command:   DARKRANK_DATA=DIR python -m darkrank_jax.main --config configs/omniglot.py
Hardware:  2 CPU cores
Time:      not measured by itself; experiments/omniglot takes more than an hour
Result:    experiments/omniglot, three seeds, 2026-11
"""

from ml_collections import ConfigDict

from configs import default

SUPCON = {"weight": 1.0, "temperature": 0.1}


def get_config() -> ConfigDict:
    student = common()
    student.model.update({"name": "resnet10", "width": 6})
    student.steps = 600
    student.learning_rate = 4e-3
    student.losses = ConfigDict({"supcon": SUPCON, "darkrank_soft": default.whole_lists()})
    student.baseline = ConfigDict({"supcon": SUPCON})
    student.teacher = teacher()
    default.share_images(student)
    return student.lock()


def teacher() -> ConfigDict:
    config = common()
    config.model.update({"name": "resnet18", "width": 16})
    config.steps = 1000
    config.learning_rate = 2e-3
    config.losses = ConfigDict({"supcon": SUPCON})
    return config


def common() -> ConfigDict:
    """What teacher and student share."""
    config = default.get_config().unlock()
    config.data.source = "omniglot"
    config.data.image_size = 28
    config.data.mean = 0.1
    config.data.std = 0.3
    config.model.update({"stem": "strided", "embedding_dim": 64})
    config.data.augmentation = ConfigDict(
        {"random_affine": {"degrees": 10.0, "translate": 0.07, "scale": (0.9, 1.1), "shear": 0.1}}
    )
    config.eval_every = 200
    return config
