"""A loaded run of random weights, as `load_run` returns one."""

from collections.abc import Callable

import jax
import numpy as np

from darkrank_jax.inference.load import LoadedRun
from darkrank_jax.models import build_model
from darkrank_jax.training.step import make_embed_step

DIM = 128
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def embedder(network: str, pixels: int, compiled: bool) -> Callable[[list[str]], np.ndarray]:
    """From paths of files to embeddings [n, DIM]; always compiled."""
    del compiled
    model = build_model(name=network, embedding_dim=DIM)
    shape = (pixels, pixels, 3)
    variables = jax.jit(lambda: model.init(jax.random.key(0), np.zeros((1, *shape)), train=False))()
    variables = {"params": {"model": variables["params"]}, "batch_stats": variables["batch_stats"]}
    step = make_embed_step(model, MEAN, STD)
    call = jax.jit(lambda variables, images: step(variables, images)["embeddings"])
    facts = {"name": network, "image_shape": shape, "embedding_dim": DIM, "center_crop": 1.0}
    return LoadedRun(facts, lambda images: np.asarray(call(variables, images))).embed
