"""One training step and one embedding step: pure functions, compiled by the loop."""

import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from darkrank_jax.training.chunks import by_chunks
from darkrank_jax.training.state import TrainState

Arrays = dict[str, Any]
# The name of what a forward pass keeps for the backward pass when it keeps little.
_KEPT = "kept"


# A number, or one for each channel.
Scale = float | tuple[float, ...]


def normalize_images(
    images: UInt8[Array, "batch height width channels"]
    | Float[Array, "batch height width channels"],
    mean: Scale,
    std: Scale,
) -> Float[Array, "batch height width channels"]:
    """Levels, 0 to 255, to numbers around 0: (images / 255 - mean) / std, in float32.

    Example:
      >>> images = jnp.array([[[[51, 255]]]], jnp.uint8)
      >>> print(normalize_images(images, (0.1, 0.4), 0.5).round(3))
      [[[[0.2 1.2]]]]
    """
    mean_array, std_array = (jnp.asarray(x, jnp.float32).reshape(1, 1, 1, -1) for x in (mean, std))
    return (images.astype(jnp.float32) / 255.0 - mean_array) / std_array


def make_embed_step(model: linen.Module, mean: Scale, std: Scale) -> Callable[..., Arrays]:
    """The network in evaluation mode.

    Args:
      model: the embedding model.
      mean: per-channel mean of brightness, 0 to 1; a number, or one for each channel.
      std: per-channel standard deviation; likewise.

    Returns:
      `embed(variables, images)`, with `variables` as `TrainState.evaluated` gives them and uint8
      images: the model's outputs ("embeddings", "features", "maps"). The same function for the
      same model, so that what is compiled of it is found again.
    """
    # Flax gives its modules a hash that type checkers do not see.
    return _embed_step(model, mean, std)  # pyright: ignore[reportArgumentType]


@functools.lru_cache(maxsize=8)
def _embed_step(model: linen.Module, mean: Scale, std: Scale) -> Callable[..., Arrays]:
    """See `make_embed_step`."""

    def embed(variables: Mapping[str, Any], images: jax.Array) -> Arrays:
        variables = {
            "params": variables["params"]["model"],
            "batch_stats": variables["batch_stats"],
        }
        outputs: Any = model.apply(variables, normalize_images(images, mean, std), train=False)
        return outputs

    return embed


class Objective(NamedTuple):
    """What the parameters are trained towards.

    Attributes:
      loss_fn: `losses.combine` of the run's losses.
      inputs: names of the arrays that the losses take.
      logits_fn: class logits from the model's outputs and the class weights, where a loss takes
        them.
      teach: the teacher's arrays ("teacher_embeddings", ...) from its variables and the images;
        None where the batch holds them, or there is no teacher.
      num_labelled: images of a batch, its first ones, that have labels.
      mixup: of `mix`; 0: images stay as they are.
    """

    loss_fn: Callable[..., tuple[jax.Array, dict[str, jax.Array]]]
    inputs: Collection[str]
    logits_fn: Callable[[Arrays, Mapping[str, jax.Array]], jax.Array] | None = None
    teach: Callable[[Any, jax.Array], Arrays] | None = None
    num_labelled: int | None = None
    mixup: float = 0.0


class Update(NamedTuple):
    """How a gradient changes the parameters.

    Attributes:
      optimizer: of the parameters.
      ema_decay: of their moving average, where the state holds one.
    """

    optimizer: optax.GradientTransformation
    ema_decay: float = 0.0


def make_train_step(
    forward: Callable[..., tuple[Arrays, Any]],
    objective: Objective,
    update: Update,
    *,
    chunks: int = 1,
    rows_together: int = 1,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """Builds the step that the loop compiles.

    Args:
      forward: of `make_forward`.
      objective: the losses and what they take.
      update: the optimizer.
      chunks: number of chunks that a batch is split into, see `by_chunks`. The losses are of the
        whole batch all the same; batch norm's statistics are of a chunk.
      rows_together: rows that follow each other and stay in one chunk.

    Returns:
      `train_step(state, batch, teacher_variables, key) -> (state, metrics)`; `batch` holds uint8
      "images", int32 "labels" and "teacher", the stored arrays of a teacher or none, and
      "teacher_images" where the teacher sees others; the key is the run's, and the step is folded
      in here.
    """

    def in_chunks(function: Callable[[Any], tuple[Any, Any]], rows: Any) -> tuple[Any, Any]:
        return by_chunks(function, rows, chunks=chunks, together=rows_together)

    def loss_of(params: Any, state: TrainState, rows: Arrays, key: PRNGKeyArray):
        def of_chunk(rows: Arrays):
            own = jax.random.fold_in(key, rows["place"][0]) if chunks > 1 else key
            outputs, batch_stats = forward(params, state.batch_stats, rows["images"], own)
            arrays = outputs | rows["teacher"] | {"labels": rows["labels"]}
            if objective.logits_fn is not None:
                arrays["logits"] = objective.logits_fn(outputs, params["class_weights"])
            taken = {name: array for name, array in arrays.items() if name in objective.inputs}
            return taken, batch_stats

        arrays, batch_stats = in_chunks(of_chunk, rows)
        arrays |= {"class_weights": params["class_weights"]}
        total, values = objective.loss_fn(
            arrays, step=state.step, key=key, labelled=objective.num_labelled
        )
        return total, (values, batch_stats)

    def train_step(
        state: TrainState, batch: Arrays, teacher_variables: Any, key: PRNGKeyArray
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        rows, teacher = dict(batch), batch["teacher"]
        shown = rows.pop("teacher_images", batch["images"])
        own = jax.random.fold_in(key, state.step)
        if objective.mixup:
            # No row begins a chunk there, so that no other key is the same.
            mixing = jax.random.fold_in(own, len(shown))
            rows["images"], shown = (
                mix(images, objective.mixup, mixing) for images in (rows["images"], shown)
            )
        if objective.teach is not None:
            with jax.named_scope("teacher"):
                teacher, _ = in_chunks(
                    lambda images, teach=objective.teach: (teach(teacher_variables, images), ()),
                    shown,
                )
        rows["teacher"] = jax.lax.stop_gradient(teacher)
        rows["place"] = jnp.arange(len(batch["labels"]))
        (total, (values, batch_stats)), gradient = jax.value_and_grad(loss_of, has_aux=True)(
            state.params, state, rows, own
        )
        with jax.named_scope("optimizer"):
            updates, opt_state = update.optimizer.update(gradient, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
            ema_params = state.ema_params
            if ema_params is not None:
                ema_params = optax.incremental_update(params, ema_params, 1.0 - update.ema_decay)
        metrics = {"loss": total, "gradient_norm": optax.tree.norm(gradient)}
        metrics |= {f"losses/{name}": value for name, value in values.items()}
        state = TrainState(state.step + 1, params, batch_stats, opt_state, ema_params)
        return state, metrics

    return train_step


def mix(images: jax.Array, strength: float, key: PRNGKeyArray) -> jax.Array:
    """Each image with the one at its place from the end of the batch (Zhang et al., ICLR 2018).

    share * image + (1 - share) * other, share from Beta(strength, strength), one for each image

    Args:
      images: [batch, height, width, channels], levels 0 to 255.
      strength: the larger, the more even are the shares.
      key: random key; the same shares for images of another size.

    Returns:
      float32, of the same shape.
    """
    share = jax.random.beta(key, strength, strength, (len(images), 1, 1, 1))
    levels = images.astype(jnp.float32)
    return share * levels + (1.0 - share) * levels[::-1]


def make_forward(
    model: linen.Module,
    mean: Scale,
    std: Scale,
    *,
    remat: bool = False,
    frozen_backbone: bool = False,
) -> Callable[..., Any]:
    """The network in training mode.

    Args:
      model: the embedding model.
      mean: see `normalize_images`.
      std: likewise.
      remat: keep what its blocks give, and compute the rest again for the gradient.
      frozen_backbone: the backbone and the statistics of its norms stay as they are.

    Returns:
      `forward(params, batch_stats, images, key)`: the model's outputs, and the new statistics of
      batch norm.
    """

    def forward(params: Any, batch_stats: Any, images: jax.Array, key: PRNGKeyArray):
        outputs, updates = model.apply(
            {"params": params["model"], "batch_stats": batch_stats},
            normalize_images(images, mean, std),
            train=True,
            frozen_backbone=frozen_backbone,
            mutable=["batch_stats"],
            # Apart from the keys of the losses, which are split off the same one.
            rngs={"dropout": jax.random.fold_in(key, 1)},
        )
        return outputs, updates.get("batch_stats", {})

    if not remat:
        return forward

    def forward_named(*arguments: Any):
        with linen.intercept_methods(_name_blocks):
            return forward(*arguments)

    return jax.checkpoint(
        forward_named, policy=jax.checkpoint_policies.save_only_these_names(_KEPT)
    )


def _name_blocks(following: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
    """Names what each part of a backbone gives: a block, or a convolution outside of one."""
    found, path = following(*args, **kwargs), context.module.path
    norm = isinstance(context.module, linen.BatchNorm | linen.LayerNorm)
    part = path[:1] == ("backbone",) and len(path) == 2 and not norm
    return checkpoint_name(found, _KEPT) if part and context.method_name == "__call__" else found
