"""What is checked and told before a run starts: data, sizes, losses on those sizes."""

import dataclasses
import functools
import json
import os
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from darkrank_jax.config.reader import asked_networks
from darkrank_jax.config.registered import check_source
from darkrank_jax.config.run import Data, Run
from darkrank_jax.data import SOURCES, Split, check_batch, height_and_width
from darkrank_jax.data.augmentation import augment
from darkrank_jax.data.crops import whole
from darkrank_jax.data.images import picture_of
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.errors import UserError
from darkrank_jax.runs.loss_checks import check_learns_alone, check_loss
from darkrank_jax.training.initial_weights import read_weights
from darkrank_jax.training.network import build, check_recorded
from darkrank_jax.training.state import TrainState
from darkrank_jax.training.step import make_embed_step
from darkrank_jax.training.teacher.embeddings import read_stored
from darkrank_jax.training.teacher.ensemble import combine_embeddings
from darkrank_jax.workdir.run_file import read_facts

# Draws of each augmentation, some of which change an image only now and then.
_TRIES = 16
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
    if run.checkpoint:
        check_recorded(run, Path(run.checkpoint), prefix)
        found = read_facts(Path(run.checkpoint))["channels"]
        if found != channels:
            raise UserError(
                f"{prefix}checkpoint: {run.checkpoint} takes images of {found} channels, and those "
                f"of {prefix}data have {channels}; give another"
            )
        return
    read_weights(run, channels)
    if not run.is_trained:
        return
    classes = len(train.class_names)
    check_batch(classes, data.batch_size, data.images_per_class, data.sampler, f"{prefix}data")
    _check_augmentation(data, f"{prefix}data.augmentation")
    if run.teacher:
        _check_classes(run, prefix)
    # What a loss meets at once.
    part, parts = ("chunk", run.chunks) if run.chunk_losses else ("batch", 1)
    together = dataclasses.replace(data, batch_size=data.batch_size // parts)
    arrays = _shapes(run, together.batch_size)
    if run.teacher:
        teacher = teacher_shapes(run.teacher, together)
        arrays |= {f"teacher_{name}": array for name, array in teacher.items()}
    alone = data.images_per_class == 1 and data.sampler["name"] != "class_balanced"
    for field, losses in (("losses", run.losses), ("baseline", run.baseline)):
        for name, options in losses.items():
            where = f"{prefix}{field}.{name}"
            check_loss(name, options, arrays, where, part)
            if alone:
                per_class = f"{prefix}data.images_per_class"
                check_learns_alone(name, options, arrays, where, per_class)


def check_devices(run: Run, prefix: str = "") -> None:
    """Refuses a batch, of a run or of what it trains before, that the devices do not divide.

    Args:
      run: the run.
      prefix: of the run's fields in the outer config.

    Raises:
      UserError: names the field.
    """
    if run.checkpoint:
        return
    for name, part in _others(run):
        check_devices(part, f"{prefix}{name}.")
    if run.is_trained:
        make_mesh(run.data.batch_size, where=f"{prefix}data")


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
        lines["baseline"] = _describe(run.baseline_run)
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
    steps = f", {run.steps:,} steps of {' + '.join(run.losses)}" if run.is_trained else ""
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


def _check_augmentation(data: Data, where: str) -> None:
    """Changes an image a few times in each way, so that no thread meets options that it cannot."""
    images = load_data(data)["train"].images
    picture, size = picture_of(images, 0), images.shape[1:3]
    for name, options in data.augmentation.items():
        try:
            for key in range(_TRIES):
                rng = np.random.default_rng(key)
                augment(picture, size, {name: options}, rng, crop=whole)
        except (ArithmeticError, TypeError, ValueError, cv2.error) as error:
            raise UserError(
                f"{where}.{name}: cannot be done ({' '.join(str(error).split())}); give other "
                f"numbers than {dict(options)}"
            ) from error


def _check_classes(run: Run, prefix: str) -> None:
    """Refuses a teacher trained on classes that the student is measured on, or kd on other ones."""
    assert run.teacher is not None
    splits = load_data(run.data)
    for network, where in asked_networks(run.teacher, f"{prefix}teacher"):
        data = _trained_on(network)
        # Elsewhere the same name may be another class.
        if data is None or _source(data) != _source(run.data):
            continue
        seen = load_data(dataclasses.replace(run.data, options=data.options))["train"].class_names
        for name in ("validation", "test"):
            unseen = splits[name].class_names
            both = sorted(set(seen).intersection(unseen))
            if both:
                raise UserError(
                    f"{where}.data.options: the teacher trains on {len(both)} of the "
                    f"{len(unseen)} {name} classes of {prefix}data, such as {both[0]!r}; give both "
                    "the same options"
                )
        if "logits" in run.loss_inputs and seen != splits["train"].class_names:
            raise UserError(
                f"{where}.data.options: kd compares class logits, and the teacher trains on other "
                f"classes than {prefix}data; give both the same options"
            )


def _trained_on(network: Run) -> Data | None:
    """The data that a teacher's network is trained on, as its own run says; None: not known."""
    if network.checkpoint:
        data = read_facts(Path(network.checkpoint))["run"]["data"]
        fields = {field: data[field] for field in ("source", "path", "options")}
        return dataclasses.replace(network.data, **fields)
    return network.data if network.is_trained else None


def _source(data: Data) -> tuple[str, str]:
    """Where images come from."""
    return data.source, os.path.realpath(data.path)
