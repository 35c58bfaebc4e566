"""Weights of ImageNet on photographs of cars: worth what other code measured."""

import os
from pathlib import Path

import pytest

from configs import default
from darkrank_jax.config.reader import read_run
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.evaluation.retrieval import retrieval_metrics
from darkrank_jax.runs.roles import load
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training.network import embed

PLACES = ("DARKRANK_WEIGHTS", "DARKRANK_DATA")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(place in os.environ for place in PLACES), reason=f"{' and '.join(PLACES)} not set"
    ),
]
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
LITE = {"mean": 127 / 255, "std": 128 / 255}


def photographs():
    return Path(os.environ["DARKRANK_DATA"], "cars196_half", "cars196_half_96px.zip")


# The authors of the files measured these with other code.
@pytest.mark.parametrize(
    ("name", "data", "recall"),
    [
        ("mobilenet_v2", {"image_size": 96, **IMAGENET}, 0.267),
        ("efficientnet_lite2", {"image_size": 129, **LITE}, 0.312),
    ],
)
def test_zero_shot_recall_is_what_other_code_measured(name, data, recall):
    config = default.get_config().unlock()
    config.model.update({"name": name, "embedding_dim": 0, "dtype": "float32"})
    config.weights.path = str(Path(os.environ["DARKRANK_WEIGHTS"], f"{name}.safetensors"))
    config.data.update({"source": "images", "path": str(photographs()), **data})
    config.data.options = {"num_train_classes": 98}
    config.steps = 0
    run = read_run(config.to_dict(), "teacher")
    splits, mesh = Splits(), make_mesh(1)
    split = splits[run.data]["test"]
    found = retrieval_metrics(embed(load(run, splits, Path(), mesh), split, mesh), split.labels)
    assert abs(found["recall_at_1"] - recall) <= 0.003
