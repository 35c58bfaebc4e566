"""Students of a teacher whose losses are compared: within the package, or outside of it."""

from ml_collections import ConfigDict

from darkrank_jax.config.reader import read_run
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.runs.splits import Splits
from darkrank_jax.runs.train import train
from darkrank_jax.workdir.metrics_log import read_log
from tests import tiny_config


def taught(**teacher):
    """A student that takes relations from its teacher, and sees images as they are."""
    config = tiny_config.small()
    config.data.augmentation = ConfigDict()
    config.update({"steps": 4, "log_every": 1})
    config.losses = ConfigDict({"rkd_distance": {"weight": 1.0}})
    config.teacher = tiny_config.small()
    config.teacher.losses = ConfigDict({"triplet": {"weight": 1.0, "margin": 0.2}})
    config.teacher.update(teacher)
    return config


def losses(config, workdir):
    train(read_run(config.to_dict()), Splits(), workdir, "student", make_mesh(8))
    return [row["loss"] for row in read_log(workdir) if "loss" in row]


def viewed(path, augmentation=None, **fields):
    """A student of two augmented views, which a teacher outside has embedded."""
    config = taught(embeddings=str(path))
    config.data.augmentation = ConfigDict(augmentation or {"random_affine": {"degrees": 20.0}})
    config.data.views = 2
    config.store_teacher = True
    config.update(fields)
    return config
