"""A network with its parameters: made new for training, or restored from a finished run."""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax import linen
from jax.sharding import Mesh

from darkrank_jax.config.description import describe
from darkrank_jax.config.options import default_options
from darkrank_jax.config.registered import needs_of
from darkrank_jax.config.run import Run
from darkrank_jax.data import Split, height_and_width, of_process
from darkrank_jax.distributed.mesh import by_rows, put, replicated
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.embed import embed_images
from darkrank_jax.losses import LOSSES, centers_of
from darkrank_jax.models import build_model, model_options
from darkrank_jax.models.depths import depths_of
from darkrank_jax.optimizers import make_optimizer, make_schedule
from darkrank_jax.training import checkpoints
from darkrank_jax.training.state import TrainState, create_state
from darkrank_jax.training.step import Arrays, make_embed_step
from darkrank_jax.training.teacher.ensemble import combine_embeddings
from darkrank_jax.workdir.run_file import first_difference, read_facts


class Network(NamedTuple):
    """A model, its variables on the devices, and what training them took.

    Attributes:
      run: the run that trained it.
      model: the embedding model.
      variables: as `TrainState.evaluated` gives them.
      step: the step of the checkpoint that the variables are of.
      seconds: of training, validation not counted.
      workdir: where it was trained.
      channels: of the images it takes.
    """

    run: Run
    model: linen.Module
    variables: Any
    step: int
    seconds: float
    workdir: Path
    channels: int

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.image_shape))
        return f"Network({self.run.model['name']}, images {shape}, step {self.step})"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images it takes."""
        return (*height_and_width(self.run.data.image_size), self.channels)

    def embed_step(self) -> Callable[..., Arrays]:
        """The network in evaluation mode, to be compiled: `embed(variables, images)`."""
        return make_embed_step(self.model, self.run.data.mean, self.run.data.std)

    def num_parameters(self) -> int:
        """Parameters of the model; class weights, which no embedding needs, are not counted."""
        leaves = jax.tree.leaves(self.variables["params"]["model"])
        return sum(leaf.size for leaf in leaves)


class Ensemble(NamedTuple):
    """Networks whose embeddings are combined; it stands where a `Network` does.

    Attributes:
      run: that names the members; its `model` says what the ensemble is.
      members: by name.
      workdir: that holds those trained here.
    """

    run: Run
    members: "Mapping[str, Embedder]"
    workdir: Path

    def __repr__(self) -> str:
        return f"Ensemble({self.run.combine} of {', '.join(self.members)})"

    @property
    def variables(self) -> dict[str, Any]:
        """Those of the members by name."""
        return {name: member.variables for name, member in self.members.items()}

    @property
    def step(self) -> int:
        """An ensemble is not trained as such."""
        return 0

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images that every member takes."""
        return next(iter(self.members.values())).image_shape

    @property
    def seconds(self) -> float:
        """Of training all members."""
        return sum(member.seconds for member in self.members.values())

    def embed_step(self) -> Callable[..., Arrays]:
        """All members in evaluation mode, to be compiled: `embed(variables, images)`."""
        steps = {name: member.embed_step() for name, member in self.members.items()}

        def embed(variables: Mapping[str, Any], images: jax.Array) -> Arrays:
            found = [step(variables[name], images)["embeddings"] for name, step in steps.items()]
            return {"embeddings": combine_embeddings(found, self.run.combine)}

        return embed

    def num_parameters(self) -> int:
        """Parameters of all members."""
        return sum(member.num_parameters() for member in self.members.values())


Embedder = Network | Ensemble


def build(
    run: Run, *, channels: int, num_classes: int, class_weights: Sequence[str] | None = None
) -> tuple[linen.Module, optax.GradientTransformation, Callable[[], TrainState]]:
    """Makes the model and optimizer of a run, and a function that draws its first state.

    Args:
      run: the run.
      channels: of an image.
      num_classes: classes of the training split.
      class_weights: names of the losses that hold some; None: those of the run.

    Returns:
      (model, optimizer, initial state); the last may be passed to `jax.eval_shape`.
    """
    model = build_model(**run.model)
    schedule = make_schedule(run.schedule, run.learning_rate, run.steps)
    decays = run.layer_decay != 1
    # A stage with the backbone frozen has the same state as the one that follows it.
    rates = run.learning_rates if run.learning_rates or run.freeze_steps or decays else None
    depths = depths_of(model.backbone) if decays else None
    optimizer = make_optimizer(
        run.optimizer, schedule, run.clip_norm, rates, run.layer_decay, depths
    )
    names = run.class_weights if class_weights is None else class_weights

    def initial_state() -> TrainState:
        return create_state(
            model,
            optimizer,
            image_shape=(*height_and_width(run.data.image_size), channels),
            class_weights={name: centers_of(name, run.losses.get(name, {})) for name in names},
            num_classes=num_classes,
            averaged=run.ema_decay > 0,
            key=jax.random.key(run.seed),
        )

    return model, optimizer, initial_state


def load_network(run: Run, workdir: Path, mesh: Mesh) -> Network:
    """Restores the best checkpoint of a run.

    Args:
      run: the config that it was trained with.
      workdir: where it was trained.
      mesh: the devices it goes to, whole on each.

    Returns:
      The network.

    Raises:
      UserError: there is no checkpoint, or it is of another network than the config's.
    """
    check_recorded(describe(run), workdir)
    facts = read_facts(workdir)
    # The run.json of earlier versions has no needs.
    needs = facts if "class_weights" in facts else needs_of(run.data, run.losses)
    sizes = {"channels": facts["channels"], "num_classes": facts["num_classes"]}
    model, _, initial_state = build(run, **sizes, class_weights=needs["class_weights"])
    step = checkpoints.best_step(workdir)
    if step is None:
        raise UserError(f"{workdir}: holds no validated checkpoint yet; train it first")
    like = jax.eval_shape(initial_state)
    state, seconds = checkpoints.restore(workdir, step, like, replicated(mesh), evaluated_only=True)
    channels = facts["channels"]
    return Network(run, model, state.evaluated, step, seconds, workdir, channels)


def check_recorded(described: Mapping[str, Any], workdir: Path, prefix: str = "") -> None:
    """Refuses a config that makes another network of a checkpoint than was trained there.

    Args:
      described: the run that the config states, as `describe` gives it.
      workdir: where the checkpoint lies.
      prefix: of the run's fields in the outer config.

    Raises:
      UserError: names the first field that differs and counts for the network's outputs.
    """
    recorded, stated = (
        json.loads(json.dumps(_deciding(each))) for each in (read_facts(workdir)["run"], described)
    )
    if difference := first_difference(recorded, stated):
        field, found, given = difference
        raise UserError(
            f"{prefix}{field}: must be {found}, with which {workdir} was trained (got {given})"
        )


def _deciding(described: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a trained network's outputs, with its defaults, of what `describe` gives."""
    model = described["model"]
    built: Any = build_model(**{**model, "dtype": "float32"})
    options = model_options(model["name"]).keys() - {"dtype"}
    values = {o: getattr(built if hasattr(built, o) else built.backbone, o) for o in options}
    losses = {
        name: default_options(name) | {k: v for k, v in loss.items() if k != "weight"}
        for name, loss in described["losses"].items()
        # The others are gone after training.
        if name in LOSSES and "class_weights" in LOSSES[name].inputs
    }
    return {
        "data": {field: described["data"][field] for field in ("image_size", "mean", "std")},
        # Averaged parameters are those that are evaluated.
        "ema_decay": described["ema_decay"],
        "losses": losses,
        "model": {"name": model["name"]} | values,
    }


def make_ensemble(run: Run, members: Mapping[str, Embedder], workdir: Path) -> Ensemble:
    """Joins networks under a run whose `model` names them, as results.json has it."""
    model = {"name": run.combine} | {
        name: member.run.model["name"] for name, member in members.items()
    }
    return Ensemble(dataclasses.replace(run, model=model, losses={}), members, workdir)


def embed_fn(network: Embedder, mesh: Mesh) -> Callable[[np.ndarray], jax.Array]:
    """Compiles a network to a function from uint8 images to embeddings.

    Args:
      network: the network.
      mesh: the devices, over which the images are split; each has all embeddings.

    Returns:
      The function; of several processes each must call it, with the same images.
    """
    step = _embeddings_under_jit(network.embed_step(), mesh)

    def embed(images: np.ndarray) -> jax.Array:
        missing = -len(images) % mesh.size
        filled = np.concatenate([images, images[:1].repeat(missing, axis=0)]) if missing else images
        own = of_process(filled, jax.process_index(), jax.process_count())
        return step(network.variables, put(own, by_rows(mesh)))[: len(images)]

    return embed


@functools.lru_cache(maxsize=8)
def _embeddings_under_jit(step: Callable[..., Arrays], mesh: Mesh) -> Callable[..., jax.Array]:
    """One compiled function for each network, however often a run validates it."""
    return jax.jit(
        lambda variables, images: step(variables, images)["embeddings"],
        out_shardings=replicated(mesh),
    )


def embed(network: Embedder, split: Split, mesh: Mesh) -> np.ndarray:
    """Embeddings of a whole split, float32 [n, dim], in its order."""
    return embed_images(embed_fn(network, mesh), split.images)
