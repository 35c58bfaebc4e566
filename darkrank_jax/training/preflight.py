"""What is checked and told before a run starts: data, sizes, losses on those sizes."""

import functools
import inspect
import json
from pathlib import Path

import jax
import jax.numpy as jnp

from darkrank_jax.data import SOURCES, Split, check_batch, height_and_width
from darkrank_jax.errors import UserError
from darkrank_jax.losses import LOSSES
from darkrank_jax.training.network import build
from darkrank_jax.training.run_config import Data, Run, baseline_of
from darkrank_jax.training.state import TrainState
from darkrank_jax.training.step import make_embed_step

USES = {"train": "train on", "validation": "validate on", "test": "test on"}


def load_data(data: Data) -> dict[str, Split]:
    """The splits of a run's data: "train", "validation" and "test".

    Networks of one run share their images, so the last two sets stay in memory.

    Args:
      data: of a run.

    Returns:
      Split by name; no class is in two of them.

    Raises:
      UserError: from the source.
    """
    size = height_and_width(data.image_size)
    return _load(data.source, data.path, size, json.dumps(data.options))


@functools.lru_cache(maxsize=2)
def _load(source: str, path: str, image_size: tuple[int, int], options: str) -> dict[str, Split]:
    """Calls a source; the options are JSON, so that they can be a key."""
    return SOURCES[source](path=path, image_size=image_size, **json.loads(options))


def check_sizes(run: Run, prefix: str = "") -> None:
    """Refuses a run whose losses, classes and networks do not fit together, nothing compiled.

    Args:
      run: the run; its teacher and baseline are checked as well.
      prefix: of the run's fields in the outer config.

    Raises:
      UserError: from the data, the model, or a loss on arrays of the run's sizes.
    """
    if run.teacher:
        check_sizes(run.teacher, f"{prefix}teacher.")
    data, train = run.data, load_data(run.data)["train"]
    check_batch(len(train.class_names), data.batch_size, data.images_per_class, data.sampler)
    arrays = _shapes(run)
    if run.teacher:
        arrays |= {f"teacher_{name}": array for name, array in _shapes(run.teacher).items()}
    for field, losses in (("losses", run.losses), ("baseline", run.baseline)):
        for name, options in losses.items():
            _check_loss(name, options, arrays, f"{prefix}{field}.{name}")


def summary(run: Run, workdir: Path) -> str:
    """What is about to happen, in a few lines: devices, data, networks, where it writes."""
    splits = load_data(run.data)
    classes = ", ".join(f"{len(splits[name].class_names)} to {use}" for name, use in USES.items())
    size = "x".join(str(side) for side in splits["train"].images.shape[1:])
    lines = {
        "devices": f"{jax.local_device_count()} x {jax.devices()[0].device_kind}",
        "data": f"{run.data.source}, {size}; classes: {classes}",
    }
    if run.teacher:
        lines["teacher"] = run.teacher.checkpoint or _describe(run.teacher)
    if run.baseline:
        lines["baseline"] = _describe(baseline_of(run))
    lines["student" if run.teacher else "network"] = _describe(run)
    lines["writes"] = str(workdir)
    return "\n".join(f"{name:<9} {line}" for name, line in lines.items())


def _describe(run: Run) -> str:
    """A network in half a line: its model, size, steps and losses."""
    leaves = jax.tree.leaves(_state_shapes(run).params["model"])
    size = sum(leaf.size for leaf in leaves)
    return (
        f"{run.model['name']}, {size:,} parameters, {run.steps:,} steps of {' + '.join(run.losses)}"
    )


def _shapes(run: Run) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of what a network and its batch give the losses."""
    train = load_data(run.data)["train"]
    state = _state_shapes(run)
    model, _, _ = build(run, channels=train.images.shape[-1], num_classes=len(train.class_names))
    images = jax.ShapeDtypeStruct((run.data.batch_size, *train.images.shape[1:]), jnp.uint8)
    embed = make_embed_step(model, run.data.mean, run.data.std)
    arrays = jax.eval_shape(embed, state.evaluated, images)
    dim, classes, batch = run.model["embedding_dim"], len(train.class_names), run.data.batch_size
    return arrays | {
        "labels": jax.ShapeDtypeStruct((batch,), jnp.int32),
        "class_weights": jax.ShapeDtypeStruct((dim, classes), jnp.float32),
        "logits": jax.ShapeDtypeStruct((batch, classes), jnp.float32),
    }


def _state_shapes(run: Run) -> TrainState:
    """The first state's shapes."""
    train = load_data(run.data)["train"]
    sizes = {"channels": train.images.shape[-1], "num_classes": len(train.class_names)}
    return jax.eval_shape(build(run, **sizes)[2])


def _check_loss(name: str, options: dict, arrays: dict, where: str) -> None:
    """Traces a loss on the shapes it will meet."""
    loss = LOSSES[name]
    others = arrays["labels"].shape[0] - 1
    if (options.get("list_size") or 0) > others:
        raise UserError(
            f"{where}.list_size: is {options['list_size']}; a batch of {others + 1} has {others} "
            f"other images, give at most {others}"
        )
    options = {option: value for option, value in options.items() if option != "weight"}
    if "key" in inspect.signature(loss.function).parameters:
        options["key"] = jax.random.key(0)
    try:
        jax.eval_shape(
            functools.partial(loss.function, **options), *(arrays[array] for array in loss.inputs)
        )
    except (ValueError, TypeError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from error
