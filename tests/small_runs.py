"""Runs of a step, with teachers of every kind."""

from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from darkrank_jax.config.reader import read_run
from darkrank_jax.data import Split
from darkrank_jax.data.sources.glyphs import glyphs
from darkrank_jax.errors import UserError
from tests import tiny_config

WEIGHTS = Path(__file__).parent / "golden" / "resnet_basic.safetensors"


class NamedSplit(Split):
    """A split whose images have names."""

    @property
    def names(self):
        return tuple(f"train/{row:03}.png" for row in range(len(self.labels)))


def colored(*, path, image_size, num_classes=20, images_per_class=4):
    """The glyphs in three channels of unlike contrast, each with a name."""
    options = {"num_classes": num_classes, "images_per_class": images_per_class}
    splits = glyphs(path=path, image_size=image_size, **options)
    contrast = np.array([1.0, 0.5, 0.25])
    return {
        use: NamedSplit((split.images * contrast).astype(np.uint8), *split[1:])
        for use, split in splits.items()
    }


def small(**changes):
    """A run of one step on the coloured glyphs."""
    config = tiny_config.small()
    config.data.source = "colored"
    config.data.augmentation = ConfigDict()
    config.losses = ConfigDict({"triplet": {"weight": 1.0}})
    config.update({"steps": 1, "log_every": 1, "eval_every": 1, **changes})
    return config


def imported(**model):
    """A teacher of torchvision's weights, as they are."""
    config = small(steps=0)
    config.losses = ConfigDict()
    config.model = ConfigDict(
        {"name": "resnet18", "width": 8, "pooling": "average", "embedding_dim": 0, **model}
    )
    config.weights.path = str(WEIGHTS)
    config.data.mean = (0.485, 0.456, 0.406)
    config.data.std = (0.229, 0.224, 0.225)
    return config


def student(teacher, **changes):
    config = small(**changes)
    config.losses = ConfigDict({"rkd_distance": {"weight": 1.0}})
    config.teacher = teacher
    return config


def stored(path):
    config = small()
    config.losses = ConfigDict()
    config.embeddings = str(path)
    return config


def ensemble(combine="concatenation", **members):
    config = small()
    config.losses = ConfigDict()
    config.ensemble = ConfigDict(members)
    config.combine = combine
    return config


def changed(config, **fields):
    """A config with fields set by their dotted names."""
    for name, value in fields.items():
        holder, _, field = name.rpartition("__")
        target = config
        for part in holder.split("__") if holder else ():
            target = target[part]
        with target.ignore_type():
            target[field] = value
    return config


def refusal(function, *arguments):
    with pytest.raises(UserError) as error:
        function(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def read(config):
    return read_run(config.to_dict())
