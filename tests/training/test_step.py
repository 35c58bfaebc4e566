"""Steps of training."""

import jax
import numpy as np

from darkrank_jax.config.reader import read_run
from darkrank_jax.data import batches
from darkrank_jax.distributed.mesh import by_rows, make_mesh, put, replicated
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training.compiled import compile_step
from darkrank_jax.training.network import build
from tests import devices_config


def test_devices_do_not_change_the_losses():
    run = read_run(devices_config.get_config().to_dict())
    split = Splits()[run.data]["train"]
    vectors = np.random.default_rng(2).normal(size=(48, 5)).astype(np.float32)
    sizes = {"channels": split.images.shape[-1], "num_classes": len(split.class_names)}
    model, optimizer, initial_state = build(run, **sizes)
    step = compile_step(run, model, optimizer, None)
    first = jax.device_get(jax.jit(initial_state)())
    stream = batches(
        split, seed=3, first_step=0, num_steps=20, batch_size=16, images_per_class=2,
        augmentation={}, num_threads=1,
    )  # fmt: skip
    given = [
        batch | {"teacher": {"teacher_embeddings": vectors[batch["rows"]]}} for batch in stream
    ]

    def losses_on(devices):
        """The loss of each step on the first devices."""
        mesh = make_mesh(16, jax.devices()[:devices])
        state, key = put((first, jax.random.key(run.seed)), replicated(mesh))
        found = []
        for batch in given:
            state, metrics = step(state, put(batch, by_rows(mesh)), {}, key)
            found.append(float(metrics["loss"]))
        return found

    one = losses_on(1)
    assert len(set(one)) == 20
    np.testing.assert_allclose(losses_on(4), one, rtol=1e-4)
