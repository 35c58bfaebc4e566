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
from darkrank_jax.training.ensemble import combine_embeddings
from darkrank_jax.training.imported import read_weights
from darkrank_jax.training.needs import check_source
from darkrank_jax.training.network import build
from darkrank_jax.training.run_config import Data, Run, baseline_of, is_trained
from darkrank_jax.training.state import TrainState
from darkrank_jax.training.step import make_embed_step
from darkrank_jax.training.stored_embeddings import read_stored

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
    check_source(data)
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
    for name, part in _others(run):
        check_sizes(part, f"{prefix}{name}.")
    if run.embeddings:
        return
    if run.ensemble:
        _check_ensemble(run, prefix)
        return
    if run.store_teacher and jax.process_count() > 1:
        raise UserError(
            f"{prefix}store_teacher: is for one process, and there are {jax.process_count()}; set "
            "it to False"
        )
    data, train = run.data, load_data(run.data)["train"]
    channels = train.images.shape[-1]
    for field, value in {"mean": data.mean, "std": data.std}.items():
        if isinstance(value, tuple) and len(value) not in (1, channels):
            raise UserError(
                f"{prefix}data.{field}: has {len(value)} numbers, and images have {channels} "
                "channels; give one each, or one for all"
            )
    if not run.checkpoint:
        read_weights(run, channels)
    if not is_trained(run):
        return
    check_batch(len(train.class_names), data.batch_size, data.images_per_class, data.sampler)
    arrays = _shapes(run, data.batch_size)
    if run.teacher:
        teacher = teacher_shapes(run.teacher, run.data)
        arrays |= {f"teacher_{name}": array for name, array in teacher.items()}
    for field, losses in (("losses", run.losses), ("baseline", run.baseline)):
        for name, options in losses.items():
            _check_loss(name, options, arrays, f"{prefix}{field}.{name}")


def summary(run: Run, workdir: Path) -> str:
    """What is about to happen, in a few lines: devices, data, networks, where it writes."""
    splits = load_data(run.data)
    classes = ", ".join(f"{len(splits[name].class_names)} to {use}" for name, use in USES.items())
    size = "x".join(str(side) for side in splits["train"].images.shape[1:])
    hosts = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    lines = {
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}{hosts}",
        "data": f"{run.data.source}, {size}; classes: {classes}",
    }
    if run.teacher:
        lines["teacher"] = _describe(run.teacher)
    if run.baseline:
        lines["baseline"] = _describe(baseline_of(run))
    lines["student" if run.teacher else "network"] = _describe(run)
    lines["writes"] = str(workdir)
    return "\n".join(f"{name:<9} {line}" for name, line in lines.items())


def _describe(run: Run) -> str:
    """A network in half a line: where it is from, or its model, size, steps and losses."""
    if run.ensemble:
        return f"{run.combine} of {'; '.join(map(_describe, run.ensemble.values()))}"
    if run.checkpoint or run.embeddings:
        return run.checkpoint or run.embeddings
    leaves = jax.tree.leaves(_state_shapes(run).params["model"])
    size = sum(leaf.size for leaf in leaves)
    start = f", from {run.weights.path}" if run.weights.path else ""
    steps = f", {run.steps:,} steps of {' + '.join(run.losses)}" if is_trained(run) else ""
    return f"{run.model['name']}, {size:,} parameters{start}{steps}"


def _others(run: Run) -> list[tuple[str, Run]]:
    """The runs within a run, and the fields that hold them."""
    teacher = [("teacher", run.teacher)] if run.teacher else []
    return teacher + [(f"ensemble.{name}", member) for name, member in run.ensemble.items()]


def _check_ensemble(run: Run, prefix: str) -> None:
    """Refuses members whose embeddings do not combine."""
    try:
        teacher_shapes(run, run.data)
    except ValueError as error:
        raise UserError(
            f"{prefix}ensemble: {error} have no {run.combine}; give all members one "
            'model.embedding_dim, or combine = "concatenation"'
        ) from error


def teacher_shapes(run: Run, student: Data) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of what a teacher gives the losses of a student with such data, by name."""
    if run.ensemble:
        members = [teacher_shapes(each, student)["embeddings"] for each in run.ensemble.values()]
        combined = functools.partial(combine_embeddings, how=run.combine)
        return {"embeddings": jax.eval_shape(combined, members)}
    if run.embeddings:
        vectors = read_stored(run.embeddings, load_data(student)["train"]).vectors
        shape = (student.batch_size, vectors.shape[1])
        return {"embeddings": jax.ShapeDtypeStruct(shape, jnp.float32)}
    return _shapes(run, student.batch_size)


def _shapes(run: Run, batch: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of what a network and a batch give the losses."""
    train = load_data(run.data)["train"]
    state = _state_shapes(run)
    model, _, _ = build(run, channels=train.images.shape[-1], num_classes=len(train.class_names))
    images = jax.ShapeDtypeStruct((batch, *train.images.shape[1:]), jnp.uint8)
    embed = make_embed_step(model, run.data.mean, run.data.std)
    arrays = jax.eval_shape(embed, state.evaluated, images)
    dim, classes = arrays["embeddings"].shape[-1], len(train.class_names)
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
