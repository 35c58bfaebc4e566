"""Workdirs of runs that were never trained: one checkpoint of drawn parameters."""

import jax
import numpy as np
from PIL import Image

from darkrank_jax.config.reader import read_run
from darkrank_jax.data.sources.glyphs import glyphs
from darkrank_jax.training import checkpoints
from darkrank_jax.training.network import build
from tests import tiny_config
from tests.claims import claim


def make_workdir(path, *, seed=0, **model):
    """A workdir with one checkpoint of drawn parameters and uneven running statistics."""
    config = tiny_config.small()
    config.seed = seed
    config.model.update(model)
    config.losses = {"triplet": {"weight": 1.0, "margin": 0.2}}
    return save_drawn(path, read_run(config.to_dict()))


def save_drawn(path, run, num_classes=12):
    """A workdir of a run with one checkpoint, as if it had been trained."""
    _, _, initial_state = build(run, channels=1, num_classes=num_classes)
    state = jax.jit(initial_state)()
    rng = np.random.default_rng(run.seed)
    state = state.replace(
        step=state.step + 3,
        # Means below 0, or the rectifiers of so narrow a network may let nothing through.
        batch_stats=jax.tree.map(
            lambda leaf: (leaf - rng.uniform(0.01, 0.3, leaf.shape)).astype(np.float32),
            state.batch_stats,
        ),
    )
    claim(path, run, channels=1, num_classes=num_classes)
    with checkpoints.open_checkpoints(path, 2) as manager:
        checkpoints.save(manager, state, 1.0, {"recall_at_1": 0.5})
    return path


def class_folders(folder):
    """A folder of class folders with the images of a test split."""
    split = glyphs(image_size=16, num_classes=20, images_per_class=4)["test"]
    for row, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
        (folder / f"class {label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[:, :, 0]).save(folder / f"class {label}" / f"{row:02}.png")
    return folder
