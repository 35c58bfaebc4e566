"""Optimizers and learning-rate schedules by name, all of optax.

A schedule whose `warmup_steps` are as many as the run's steps or more ends within its rise.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import optax

from darkrank_jax.errors import UserError


def constant(value: float, steps: int, *, warmup_steps: int = 0) -> optax.Schedule:
    """Rises linearly from 0 over `warmup_steps`, then stays at `value`."""
    del steps
    # Optax would stay at 0 for ever after a rise of no steps.
    if not warmup_steps:
        return optax.constant_schedule(value)
    return optax.warmup_constant_schedule(0.0, value, warmup_steps)


def cosine(
    value: float,
    steps: int,
    *,
    warmup_steps: int = 0,
    final_fraction: float = 0.0,
    cycles: int = 1,
) -> optax.Schedule:
    """Rises over `warmup_steps`, then falls as a half cosine to `final_fraction * value`.

    `cycles` is the number of such falls, each from the full value and of equal length
    (Loshchilov and Hutter, SGDR, ICLR 2017).
    """
    check_cycles(cycles)
    first = optax.warmup_cosine_decay_schedule(
        init_value=0.0 if warmup_steps else value,
        peak_value=value,
        warmup_steps=warmup_steps,
        decay_steps=max(warmup_steps + (steps - warmup_steps) // cycles, warmup_steps + 1),
        end_value=value * final_fraction,
    )
    if cycles == 1:
        return first
    length = max((steps - warmup_steps) // cycles, 1)
    again = optax.cosine_decay_schedule(value, length, final_fraction)
    starts = [warmup_steps + length * cycle for cycle in range(1, cycles)]
    return optax.join_schedules([first, *[again] * len(starts)], starts)


def staircase(
    value: float,
    steps: int,
    *,
    warmup_steps: int = 0,
    boundaries: tuple = (0.5, 0.75),
    factor: float = 0.1,
) -> optax.Schedule:
    """Rises over `warmup_steps`; falls by `factor` at each of `boundaries`, shares of all steps."""
    drops = optax.piecewise_constant_schedule(
        value, {round(boundary * steps): factor for boundary in boundaries}
    )
    rise = optax.linear_schedule(0.0, 1.0, max(warmup_steps, 1))
    return lambda step: drops(step) * (rise(step) if warmup_steps else 1.0)


SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "staircase": staircase,
}


def sgd(
    learning_rate: optax.ScalarOrSchedule,
    mask: Any,
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """Stochastic gradient descent; weight decay enters the momentum, as in the papers' codes."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask),
        optax.sgd(learning_rate, momentum, nesterov),
    )


def adamw(
    learning_rate: optax.ScalarOrSchedule,
    mask: Any,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-4,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay."""
    return optax.adamw(learning_rate, b1, b2, eps, weight_decay=weight_decay, mask=mask)


def lamb(
    learning_rate: optax.ScalarOrSchedule,
    mask: Any,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    weight_decay: float = 1e-4,
) -> optax.GradientTransformation:
    """Adam with layer-wise trust ratios, for very large batches."""
    return optax.lamb(learning_rate, b1, b2, weight_decay=weight_decay, mask=mask)


def lion(
    learning_rate: optax.ScalarOrSchedule,
    mask: Any,
    *,
    b1: float = 0.9,
    b2: float = 0.99,
    weight_decay: float = 1e-3,
) -> optax.GradientTransformation:
    """Sign of an interpolated momentum (Chen et al., 2023); wants a third to a tenth of AdamW's
    learning rate, and as much more weight decay."""
    return optax.lion(learning_rate, b1, b2, weight_decay=weight_decay, mask=mask)


# What the parameters of a run are, each with a learning rate of its own where that is wanted.
PARTS = ("backbone", "head", "class_weights")

OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adamw": adamw,
    "lamb": lamb,
    "lion": lion,
    "sgd": sgd,
}


def check_cycles(cycles: int) -> None:
    """Refuses a schedule of no cycle."""
    if cycles < 1:
        raise UserError(f"schedule.cycles: must be at least 1 (got {cycles}); leave it out for one")


def decays(params: Any) -> Any:
    """Which parameters decay: kernels and class weights.

    Biases, norms, scales of layers, tokens and position embeddings do not.
    """

    def decay(path: Sequence[Any], _: Any) -> bool:
        return path[-1].key == "kernel" or path[0].key == "class_weights"

    return jax.tree_util.tree_map_with_path(decay, params)


def make_schedule(config: Mapping[str, Any], value: float, steps: int) -> optax.Schedule:
    """Builds `SCHEDULES[config["name"]]`, which peaks at `value` and lasts `steps`."""
    options = {name: option for name, option in config.items() if name != "name"}
    return SCHEDULES[config["name"]](value, steps, **options)


def make_optimizer(
    optimizer: Mapping[str, Any],
    schedule: optax.Schedule,
    clip_norm: float,
    learning_rates: Mapping[str, float] | None = None,
    layer_decay: float = 1.0,
    depths: Callable[[Iterable[str]], Mapping[str, int]] | None = None,
) -> optax.GradientTransformation:
    """Builds `OPTIMIZERS[optimizer["name"]]` behind a clip of the gradient's global norm.

    Args:
      optimizer: the name and its options, as in the config.
      schedule: learning rate by step.
      clip_norm: largest global norm of the gradient; 0 does not clip.
      learning_rates: part in PARTS -> factor of the learning rate, weight decay included; 1 for
        parts that are not there. None: no part has one, and the optimizer's state no place for it.
      layer_decay: factor of the learning rate, weight decay included, for each block of the
        backbone between a parameter and the embedding.
      depths: of `models.depths.depths_of`; None: `layer_decay` is not used.

    Returns:
      A gradient transformation.

    Example:
      >>> import jax.numpy as jnp
      >>> transform = make_optimizer({"name": "sgd", "momentum": 0.0}, lambda step: 0.5, 1.0)
      >>> params = {"kernel": jnp.array([[3.0, 4.0]])}
      >>> updates, _ = transform.update(params, transform.init(params), params)
      >>> updates["kernel"]
      Array([[-0.3, -0.4]], dtype=float32)
    """
    options = {name: option for name, option in optimizer.items() if name != "name"}
    transforms = [OPTIMIZERS[optimizer["name"]](schedule, decays, **options)]
    if clip_norm:
        transforms.insert(0, optax.clip_by_global_norm(clip_norm))
    if learning_rates is not None:
        transforms.append(_scaled(dict(learning_rates), layer_decay, depths))
    return optax.chain(*transforms) if len(transforms) > 1 else transforms[0]


def part_of(path: Sequence[Any]) -> str:
    """The part in PARTS that a parameter belongs to.

    Args:
      path: keys of the parameter in the tree of `TrainState.params`, as `jax.tree_util` gives them.
    """
    names = [key.key for key in path]
    if names[0] == "class_weights":
        return "class_weights"
    return "backbone" if names[1] == "backbone" else "head"


def _scaled(
    factors: Mapping[str, float],
    layer_decay: float,
    depths: Callable[[Iterable[str]], Mapping[str, int]] | None,
) -> optax.GradientTransformation:
    """Multiplies what an optimizer does to each part, and to each block of the backbone."""

    def scale(updates: Any, _: Any) -> Any:
        depth = depths(updates["model"]["backbone"]) if depths else {}

        def scaled(path: Sequence[Any], update: jax.Array) -> jax.Array:
            part = part_of(path)
            below = depth.get(path[2].key, 0) if part == "backbone" else 0
            return update * (factors.get(part, 1.0) * layer_decay**below)

        return jax.tree_util.tree_map_with_path(scaled, updates)

    return optax.stateless(scale)
