"""What training changes from step to step, as one tree of arrays."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen, struct
from jaxtyping import PRNGKeyArray


class TrainState(struct.PyTreeNode):
    """The state of one network's training.

    Attributes:
      step: int32 [], steps done.
      params: {"model": ..., "class_weights": {loss: [dim, classes * centers]}}.
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
    model: linen.Module,
    optimizer: optax.GradientTransformation,
    *,
    image_shape: tuple[int, int, int],
    class_weights: Mapping[str, int],
    num_classes: int,
    averaged: bool,
    key: PRNGKeyArray,
) -> TrainState:
    """Draws the parameters of a network and of its classification losses.

    Args:
      model: the embedding model.
      optimizer: that trains it.
      image_shape: height, width, channels.
      class_weights: how many weight vectors a class has, by the name of a loss that holds some.
      num_classes: classes of the training split.
      averaged: whether a moving average of the parameters is kept.
      key: a typed or raw random key.

    Returns:
      The state before the first step.
    """
    model_key, weights_key = jax.random.split(key)
    images = jnp.zeros((1, *image_shape))
    outputs, variables = model.init_with_output(model_key, images, train=False)
    dim = outputs["embeddings"].shape[-1]
    weights = {
        name: jax.random.normal(
            jax.random.fold_in(weights_key, index), (dim, num_classes * centers)
        )
        / jnp.sqrt(dim)
        for index, (name, centers) in enumerate(class_weights.items())
    }
    params = {"model": variables["params"], "class_weights": weights}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(params),
        # A copy: the state is donated to each step, and a buffer can be donated only once.
        ema_params=jax.tree.map(jnp.copy, params) if averaged else None,
    )
