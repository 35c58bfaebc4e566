"""What training changes from step to step, as one tree of arrays."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen, struct
from jaxtyping import PRNGKeyArray

from darkrank_jax.config.run import Run
from darkrank_jax.data import height_and_width


class TrainState(struct.PyTreeNode):
    """The state of one network's training.

    Attributes:
      step: int32 [], steps done.
      params: {"model": ..., "class_weights": {loss: [dim, classes]}}.
      batch_stats: running statistics of batch norm.
      opt_state: the optimizer's.
      ema_params: exponential moving average of `params`, or None where none is kept.
    """

    step: Any
    params: Any
    batch_stats: Any
    opt_state: Any
    ema_params: Any

    @property
    def evaluated(self) -> dict[str, Any]:
        """The variables that stand for the network: the averaged parameters where they are kept."""
        params = self.params if self.ema_params is None else self.ema_params
        return {"params": params, "batch_stats": self.batch_stats}


def create_state(
    run: Run,
    model: linen.Module,
    optimizer: optax.GradientTransformation,
    *,
    channels: int,
    num_classes: int,
    key: PRNGKeyArray,
    class_weights: Sequence[str] | None = None,
) -> TrainState:
    """Draws the parameters of a network and of its classification losses.

    Args:
      run: the run; its image size, losses and `ema_decay` count here.
      model: the embedding model.
      optimizer: made of the run.
      channels: of an image.
      num_classes: classes of the training split.
      key: a typed or raw random key.
      class_weights: names of the losses that hold some; None: those of the run.

    Returns:
      The state before the first step.
    """
    model_key, weights_key = jax.random.split(key)
    size = height_and_width(run.data.image_size)
    images = jnp.zeros((1, *size, channels))
    outputs, variables = model.init_with_output(model_key, images, train=False)
    dim = outputs["embeddings"].shape[-1]
    names = run.class_weights if class_weights is None else class_weights
    weights = {
        name: jax.random.normal(jax.random.fold_in(weights_key, index), (dim, num_classes))
        / jnp.sqrt(dim)
        for index, name in enumerate(names)
    }
    params = {"model": variables["params"], "class_weights": weights}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(params),
        # A copy: the state is donated to each step, and a buffer can be donated only once.
        ema_params=jax.tree.map(jnp.copy, params) if run.ema_decay else None,
    )
