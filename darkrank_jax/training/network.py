"""A network with its parameters: made new for training, or restored from a finished run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax import linen
from jax.sharding import Mesh

from darkrank_jax.data import Split
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.embed import embed_images
from darkrank_jax.losses import LOSSES, class_logits, combine
from darkrank_jax.models import build_model
from darkrank_jax.training import checkpoints
from darkrank_jax.training.mesh import by_rows, put, replicated
from darkrank_jax.training.optimizers import make_optimizer, make_schedule
from darkrank_jax.training.run_config import Run, classification_losses
from darkrank_jax.training.state import TrainState, create_state
from darkrank_jax.training.step import Arrays, make_embed_step, make_train_step
from darkrank_jax.training.workdir import read_facts


class Network(NamedTuple):
    """A model, its variables on the devices, and what training them took.

    Attributes:
      run: the run that trained it.
      model: the embedding model.
      variables: as `TrainState.evaluated` gives them.
      step: the step of the checkpoint that the variables are of.
      seconds: of training, validation not counted.
      channels: of the images it takes.
    """

    run: Run
    model: linen.Module
    variables: Any
    step: int
    seconds: float
    channels: int

    def embed_step(self) -> Callable[..., Arrays]:
        """The network in evaluation mode, to be compiled: `embed(variables, images)`."""
        return make_embed_step(self.model, self.run.data.mean, self.run.data.std)

    def num_parameters(self) -> int:
        """Parameters of the model; class weights, which no embedding needs, are not counted."""
        leaves = jax.tree.leaves(self.variables["params"]["model"])
        return sum(leaf.size for leaf in leaves)


def build(
    run: Run, *, channels: int, num_classes: int
) -> tuple[linen.Module, optax.GradientTransformation, Callable[[], TrainState]]:
    """Makes the model and optimizer of a run, and a function that draws its first state.

    Args:
      run: the run.
      channels: of an image.
      num_classes: classes of the training split.

    Returns:
      (model, optimizer, initial state); the last may be passed to `jax.eval_shape`.
    """
    model = build_model(**run.model)
    schedule = make_schedule(run.schedule, run.learning_rate, run.steps)
    optimizer = make_optimizer(run.optimizer, schedule, run.clip_norm)

    def initial_state() -> TrainState:
        key = jax.random.key(run.seed)
        return create_state(
            run, model, optimizer, channels=channels, num_classes=num_classes, key=key
        )

    return model, optimizer, initial_state


def logits_of(run: Run) -> Callable[[Arrays, Any], jax.Array]:
    """Class logits from a model's outputs and its class weights, by its one classification loss."""
    (name,) = classification_losses(run)
    arguments = {k: v for k, v in run.losses[name].items() if k != "weight"}

    def logits(outputs: Arrays, class_weights: Any) -> jax.Array:
        return class_logits(name, outputs["embeddings"], class_weights[name], **arguments)

    return logits


def load_network(run: Run, workdir: Path, mesh: Mesh) -> Network:
    """Restores the best checkpoint of a run.

    Args:
      run: the config that it was trained with.
      workdir: where it was trained.
      mesh: the devices it goes to, whole on each.

    Returns:
      The network.

    Raises:
      UserError: there is no checkpoint, or it is of another architecture.
    """
    facts = read_facts(workdir)
    model, _, initial_state = build(
        run, channels=facts["channels"], num_classes=facts["num_classes"]
    )
    with checkpoints.open_checkpoints(workdir, run.keep_checkpoints) as manager:
        step = manager.best_step()
        if step is None:
            raise UserError(f"{workdir}: holds no validated checkpoint yet; train it first")
        like = jax.eval_shape(initial_state)
        state, seconds = checkpoints.restore(
            manager, step, like, replicated(mesh), evaluated_only=True
        )
    return Network(run, model, state.evaluated, step, seconds, facts["channels"])


def embed_fn(network: Network, mesh: Mesh) -> Callable[[np.ndarray], jax.Array]:
    """Compiles a network to a function from uint8 images to embeddings, split over the devices."""
    step = jax.jit(lambda variables, images: network.embed_step()(variables, images)["embeddings"])
    return lambda images: step(network.variables, put(images, by_rows(mesh)))


def embed(network: Network, split: Split, mesh: Mesh) -> np.ndarray:
    """Embeddings of a whole split, float32 [n, dim], in its order."""
    return embed_images(embed_fn(network, mesh), split.images)


def teach(network: Network, wanted: set[str]) -> Callable[[Any, jax.Array], Arrays]:
    """The teacher's arrays for a batch, as the losses name them.

    Args:
      network: the teacher.
      wanted: names that the losses take: "teacher_embeddings", "teacher_logits", ...

    Returns:
      A function of the teacher's variables and uint8 images.
    """
    embed = network.embed_step()
    logits = logits_of(network.run) if "teacher_logits" in wanted else None

    def arrays(variables: Any, images: jax.Array) -> Arrays:
        outputs = embed(variables, images)
        if logits is not None:
            outputs["logits"] = logits(outputs, variables["params"]["class_weights"])
        named = {f"teacher_{name}": value for name, value in outputs.items()}
        return {name: value for name, value in named.items() if name in wanted}

    return arrays


def compile_step(
    run: Run,
    model: linen.Module,
    optimizer: optax.GradientTransformation,
    teacher: Network | None,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """The run's train step under jit; the state is donated, so use the returned one."""
    wanted = {array for name in run.losses for array in LOSSES[name].inputs}
    step = make_train_step(
        model,
        combine(resolve_weights(run)),
        optimizer,
        mean=run.data.mean,
        std=run.data.std,
        ema_decay=run.ema_decay,
        logits_fn=logits_of(run) if "logits" in wanted else None,
        teach=teach(teacher, wanted) if teacher else None,
    )
    return jax.jit(step, donate_argnums=0)


def resolve_weights(run: Run) -> dict[str, dict[str, Any]]:
    """The run's losses, with weights that are schedules made into functions of the step."""

    def resolve(weight: Any) -> Any:
        if not isinstance(weight, Mapping):
            return weight
        options = {name: option for name, option in weight.items() if name != "value"}
        return make_schedule(options, weight["value"], run.steps)

    return {name: loss | {"weight": resolve(loss["weight"])} for name, loss in run.losses.items()}
