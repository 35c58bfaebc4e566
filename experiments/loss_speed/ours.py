"""Value and gradient of our losses, compiled, to be called again and again."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from darkrank_jax import losses
from experiments.loss_speed import batch as batches

STEP = "ResNet-18 step, 32 px"


def build(name: str, batch: int, **options: Any) -> Callable[[], Any]:
    """What computes a loss of the table LOSSES once, or a step of a ResNet."""
    if name == STEP:
        return _resnet_step(batch)
    arrays = {key: jnp.asarray(value) for key, value in batches.arrays(batch).items()}
    if name in ("compatible_ranking", "correlation_congruence", "embedding_match"):
        arrays["teacher_embeddings"] = arrays["teacher_embeddings"][:, : batches.DIM]
    function, inputs = losses.LOSSES[name]
    return _repeated(
        lambda first, *rest: function(first, *rest, **options), *(arrays[key] for key in inputs)
    )


def _resnet_step(batch: int) -> Callable[[], Any]:
    """Forward and backward of a ResNet-18."""
    from darkrank_jax.models import build_model

    network: Any = build_model("resnet18", stem="small", embedding_dim=batches.DIM)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(batch, 32, 32, 3)), jnp.float32)
    variables = network.init(jax.random.key(0), images[:2], train=False)

    def loss(params: Any) -> jax.Array:
        outputs, _ = network.apply(
            variables | {"params": params}, images, train=True, mutable=["batch_stats"]
        )
        return jnp.square(outputs["embeddings"]).sum()

    return _repeated(loss, variables["params"])


def _repeated(loss: Callable[..., jax.Array], *arrays: Any) -> Callable[[], Any]:
    compiled = jax.jit(jax.value_and_grad(loss))
    return lambda: jax.block_until_ready(compiled(*arrays))
