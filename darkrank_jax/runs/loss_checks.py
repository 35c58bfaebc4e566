"""Losses tried out before a run starts, on arrays like those that it will give them."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from darkrank_jax.errors import UserError
from darkrank_jax.losses import LOSSES, centers_of, combine
from darkrank_jax.losses.combination import loss_inputs

Shapes = Mapping[str, jax.ShapeDtypeStruct]


def check_loss(name: str, options: Mapping[str, Any], arrays: Shapes, where: str) -> None:
    """Refuses options that a loss cannot have on the shapes that it will meet.

    Args:
      name: in LOSSES.
      options: its weight and arguments.
      arrays: shapes of all that a loss can take, by name.
      where: the config field that holds the options.

    Raises:
      UserError: the loss refuses the shapes, or its lists are longer than there are other images.
    """
    others = arrays["labels"].shape[0] - 1
    if (options.get("list_size") or 0) > others:
        raise UserError(
            f"{where}.list_size: must be at most {others}, the other images of a batch of "
            f"{others + 1} (got {options['list_size']})"
        )
    if "class_weights" in arrays:
        dim, classes = arrays["class_weights"].shape
        columns = classes * centers_of(name, options)
        arrays = {**arrays, "class_weights": jax.ShapeDtypeStruct((dim, columns), jnp.float32)}
    try:
        jax.eval_shape(
            _called(name, options), *(arrays[array] for array in loss_inputs(name, options))
        )
    except (ValueError, TypeError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from error


def _called(name: str, options: Mapping[str, Any]) -> Callable[..., jax.Array]:
    """A loss as a function of its arrays alone."""
    sum_of = combine({name: {**options, "weight": 1.0}})

    def call(*arrays: jax.Array) -> jax.Array:
        given = dict(zip(loss_inputs(name, options), arrays, strict=True))
        return sum_of(given, key=jax.random.key(0))[0]

    return call


def check_learns_alone(
    name: str, options: Mapping[str, Any], arrays: Shapes, where: str, field: str
) -> None:
    """Refuses a loss of labels that is flat where no image has another one of its class.

    Args:
      name: in LOSSES.
      options: its weight and arguments.
      arrays: shapes of all that a loss can take, by name.
      where: the config field that holds the options.
      field: that says how many images of a class a batch has.

    Raises:
      UserError: its gradient is 0 on such a batch.
    """
    inputs = LOSSES[name].inputs
    if set(inputs) != {"embeddings", "labels"}:
        return
    rows, dim = arrays["embeddings"].shape
    # All near each other, so that no pair of two classes is far enough apart for a margin.
    noise = np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float32)
    embeddings = jnp.asarray(1 + 0.1 * noise) / np.float32(dim) ** 0.5
    labels = jnp.arange(rows, dtype=jnp.int32)

    def loss(embeddings: jax.Array) -> jax.Array:
        known = {"embeddings": embeddings, "labels": labels}
        return _called(name, options)(*(known[array] for array in inputs))

    if not jax.jit(jax.grad(loss))(embeddings).any():
        raise UserError(
            f"{where}: learns from images of the same class, and a batch has 1 of each "
            f"({field}); give at least 2"
        )
