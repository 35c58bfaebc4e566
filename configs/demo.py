"""DarkRank on characters that nobody trained on; no download.

    make demo

Time:   measured below
Result: measured below
"""

from ml_collections import ConfigDict

from configs import default

SUPCON = {"weight": 1.0, "temperature": 0.1}


def get_config() -> ConfigDict:
    student = _common()
    student.model.update({"name": "resnet10", "width": 8})
    student.losses = ConfigDict({"supcon": SUPCON, "darkrank_hard": {"weight": 1.0}})
    student.baseline = ConfigDict({"supcon": SUPCON})
    student.teacher = _teacher()
    return student.lock()


def _teacher() -> ConfigDict:
    teacher = _common()
    teacher.model.update({"name": "resnet18", "width": 24})
    teacher.losses = ConfigDict({"supcon": SUPCON})
    return teacher


def _common() -> ConfigDict:
    """What teacher and student share."""
    config = default.get_config().unlock()
    config.model.update({"stem": "strided", "embedding_dim": 64})
    config.data.augmentation = ConfigDict(
        {"random_affine": {"degrees": 10.0, "translate": 0.08, "scale": (0.9, 1.1)}}
    )
    return config
