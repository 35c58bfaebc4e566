"""The train step of a run, compiled: its losses, their weights over time, and its teacher."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import optax
from flax import linen

from darkrank_jax.config.run import Run
from darkrank_jax.losses import LOSSES, class_logits, combine, loss_arguments
from darkrank_jax.losses.combination import loss_inputs
from darkrank_jax.optimizers import make_schedule
from darkrank_jax.training.network import Embedder, build
from darkrank_jax.training.state import TrainState
from darkrank_jax.training.step import Arrays, Objective, Update, make_forward, make_train_step

Losses = Mapping[str, Mapping[str, Any]]


def compile_step(
    run: Run,
    model: linen.Module,
    optimizer: optax.GradientTransformation,
    teacher: Embedder | None,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """The run's train step under jit; the state is donated, so use the returned one.

    Args:
      run: the run.
      model: of `build`.
      optimizer: likewise.
      teacher: the network that sees each batch; None: batches hold its outputs, or there is none.
    """
    inputs = run.loss_inputs
    objective = Objective(
        combine(_scheduled(run.losses, run.steps)),
        inputs,
        logits_of(run.losses) if "logits" in inputs else None,
        teach(teacher, inputs) if teacher else None,
        run.data.num_labelled if run.data.unlabelled else None,
        run.mixup,
    )
    step = make_train_step(
        make_forward(
            model,
            run.data.mean,
            run.data.std,
            remat=run.remat,
            frozen_backbone=run.learning_rates.get("backbone") == 0,
        ),
        objective,
        Update(optimizer, run.ema_decay),
        chunks=run.chunks,
        rows_together=run.data.images_per_class,
    )
    return jax.jit(step, donate_argnums=0)


def compile_stages(
    run: Run, channels: int, num_classes: int, teacher: Embedder | None
) -> Callable[[int], Callable[..., tuple[TrainState, dict[str, jax.Array]]]]:
    """The compiled step for each number of a step: the backbone is frozen in the first ones.

    Args:
      run: the run.
      channels: of an image.
      num_classes: classes of the training split.
      teacher: see `compile_step`.
    """

    stages = []
    for part in (run.frozen, run) if run.freeze_steps else (run,):
        model, optimizer, _ = build(part, channels=channels, num_classes=num_classes)
        stages.append(compile_step(part, model, optimizer, teacher))
    return lambda step: stages[0 if step < run.freeze_steps else -1]


def teach(teacher: Embedder, inputs: Collection[str]) -> Callable[[Any, jax.Array], Arrays]:
    """The teacher's arrays for a batch, as the losses name them.

    Args:
      teacher: the network.
      inputs: names that the losses take: "teacher_embeddings", "teacher_logits", ...

    Returns:
      A function of the teacher's variables and uint8 images.
    """
    embed = teacher.embed_step()
    logits = logits_of(teacher.run.losses) if "teacher_logits" in inputs else None

    def arrays(variables: Any, images: jax.Array) -> Arrays:
        outputs = embed(variables, images)
        if logits is not None:
            outputs["logits"] = logits(outputs, variables["params"]["class_weights"])
        named = {f"teacher_{name}": value for name, value in outputs.items()}
        return {name: value for name, value in named.items() if name in inputs}

    return arrays


def logits_of(losses: Losses) -> Callable[[Arrays, Any], jax.Array]:
    """Class logits from a model's outputs and its class weights, by its one classification loss."""
    (name,) = (loss for loss in losses if "class_weights" in LOSSES[loss].inputs)
    arguments = loss_arguments(losses[name])
    seen, *_ = loss_inputs(name, losses[name])

    def logits(outputs: Arrays, class_weights: Any) -> jax.Array:
        return class_logits(name, outputs[seen], class_weights[name], **arguments)

    return logits


def _scheduled(losses: Losses, steps: int) -> dict[str, dict[str, Any]]:
    """Losses whose weights that are schedules are functions of the step."""

    def resolve(weight: Any) -> Any:
        if not isinstance(weight, Mapping):
            return weight
        options = {name: option for name, option in weight.items() if name != "value"}
        return make_schedule(options, weight["value"], steps)

    return {name: {**loss, "weight": resolve(loss["weight"])} for name, loss in losses.items()}
