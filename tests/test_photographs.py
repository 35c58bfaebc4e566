"""Weights of ImageNet on photographs of cars: worth what other code measured, and a teacher."""

import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import default
from darkrank_jax.config.reader import read_run
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.evaluation.retrieval import retrieval_metrics
from darkrank_jax.runs.roles import load
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training.network import embed
from darkrank_jax.workdir.metrics_log import read_log
from tests.data.image_files import write_folder, write_tar

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
    splits, mesh = Splits(), make_mesh(1, jax.devices()[:1])
    split = splits[run.data]["test"]
    found = retrieval_metrics(embed(load(run, splits, Path(), mesh), split, mesh), split.labels)
    assert abs(found["recall_at_1"] - recall) <= 0.003


# A teacher of 129 pixels for a student of 97, no label, and outputs that are stored first.
TAUGHT = """
import os
from configs import default

def get_config():
    student = network("mobilenet_v2", 97, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    student.losses = {"rkd_distance": {"weight": 1.0}}
    student.teacher = network("efficientnet_lite2", 129, 127 / 255, 128 / 255)
    student.teacher.steps = 0
    student.store_teacher = True
    return student.lock()

def network(name, size, mean, std):
    config = default.get_config().unlock()
    config.model.update({"name": name, "embedding_dim": 0, "dtype": "float32"})
    config.weights.path = os.path.join(os.environ["DARKRANK_WEIGHTS"], name + ".safetensors")
    config.data.update({"source": "unlabelled", "image_size": size, "mean": mean, "std": std})
    config.data.options = {"validation_images": 12}
    config.data.update({"batch_size": 8, "images_per_class": 1, "views": 2})
    config.data.augmentation = {"horizontal_flip": {}}
    config.data.sampler.name = "random"
    config.data.path = os.environ["UNLABELLED"]
    config.steps = config.eval_every = 4
    config.log_every = 1
    return config
"""


def start(config, images, workdir):
    script = "from darkrank_jax.main import console; console()"
    return subprocess.Popen(
        [sys.executable, "-c", script, f"--config={config}", f"--workdir={workdir}"],
        env=os.environ | {"UNLABELLED": str(images), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parent.parent,
    )


def finish(process):
    said, _ = process.communicate()
    assert process.returncode == 0, said


def test_folder_and_shards_teach_the_same_student_without_a_label(tmp_path):
    with zipfile.ZipFile(photographs()) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")][::120][:64]
        files = {f"{place:04}.jpg": archive.read(name) for place, name in enumerate(names)}
    write_folder(tmp_path / "images", files)
    for number in range(2):
        part = dict(list(files.items())[32 * number : 32 * number + 32])
        write_tar(tmp_path / f"shard-{number:02}.tar", part)
    config = tmp_path / "taught.py"
    config.write_text(TAUGHT)
    finish(start(config, tmp_path / "images", tmp_path / "folder"))
    # The second run is killed while the teacher's outputs are stored, and started again.
    shards, workdir = tmp_path / "shard-{00..01}.tar", tmp_path / "shards"
    killed = start(config, shards, workdir)
    while not list(workdir.rglob("teacher_embeddings-*.npy")):
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    kept = {path: path.stat().st_mtime_ns for path in workdir.rglob("teacher_embeddings-*.npy")}
    assert not list(workdir.rglob("outputs/*/manifest.json"))
    finish(start(config, shards, workdir))
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    rows = [
        [{k: v for k, v in row.items() if "per_second" not in k and "waiting" not in k}
         for row in read_log(tmp_path / name)]
        for name in ("folder", "shards")
    ]  # fmt: skip
    assert rows[0] == rows[1]
    stored = [
        {path.name: np.load(path) for path in (tmp_path / name).rglob("outputs/*/*.npy")}
        for name in ("folder", "shards")
    ]
    assert len(stored[0]) == 2 * -(-52 // 8)
    assert stored[0].keys() == stored[1].keys()
    assert all((stored[1][name] == array).all() for name, array in stored[0].items())
