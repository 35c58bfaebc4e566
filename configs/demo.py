"""Built-in characters: does a student with DarkRank beat the student alone on unseen ones?

Teacher (ResNet-18 of width 16), student alone and student with DarkRank (ResNet-10 of width 6) on
the characters; no download.

Command:   make demo
Hardware:  2 CPU cores
Time:      4 to 8 minutes
Result:    README.md, three seeds, 2026-11
"""

from ml_collections import ConfigDict

from configs import default

SUPCON = {"weight": 1.0, "temperature": 0.1}


def get_config() -> ConfigDict:
    student = _common()
    student.model.update({"name": "resnet10", "width": 6})
    student.steps = 1000
    student.learning_rate = 8e-3
    student.losses = ConfigDict({"supcon": SUPCON, "darkrank_soft": default.whole_lists()})
    student.baseline = ConfigDict({"supcon": SUPCON})
    student.teacher = _teacher()
    return student.lock()


def _teacher() -> ConfigDict:
    teacher = _common()
    teacher.model.update({"name": "resnet18", "width": 16})
    teacher.steps = 700
    teacher.learning_rate = 4e-3
    teacher.losses = ConfigDict({"supcon": SUPCON})
    return teacher


def _common() -> ConfigDict:
    """What teacher and student share."""
    config = default.get_config().unlock()
    config.data.mean = 0.1
    config.data.std = 0.3
    config.model.update({"stem": "strided", "embedding_dim": 64})
    config.data.augmentation = ConfigDict(
        {"random_affine": {"degrees": 10.0, "translate": 0.07, "scale": (0.9, 1.1), "shear": 0.1}}
    )
    config.eval_every = 200
    return config
