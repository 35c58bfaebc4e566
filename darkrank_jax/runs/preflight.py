"""Checks before a run starts: data, sizes, losses on those sizes; and a summary of the run."""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from darkrank_jax.config.reader import asked_networks
from darkrank_jax.config.run import Data, Run
from darkrank_jax.data import Images, check_batch
from darkrank_jax.data.pixels.augmentation import augment
from darkrank_jax.data.pixels.crops import whole
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.errors import UserError
from darkrank_jax.runs.loss_checks import check_learns_alone, check_loss
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training.initial_weights import read_weights
from darkrank_jax.training.network import Embedder, Network, build, check_recorded, make_ensemble
from darkrank_jax.training.teacher.embeddings import read_teacher_embeddings
from darkrank_jax.workdir.run_file import read_facts

# Draws of each augmentation, some of which change an image only now and then.
_TRIES = 16
USES = {"train": "train on", "validation": "validate on", "test": "test on"}


def check_sizes(run: Run, splits: Splits, prefix: str = "") -> None:
    """Refuses a run whose losses, classes and networks do not fit together, nothing compiled.

    Args:
      run: the run; its teacher and baseline are checked as well.
      splits: of the run and its teachers.
      prefix: of the run's fields in the outer config.

    Raises:
      UserError: from the data, the model, or a loss on arrays of the run's sizes.
    """
    for part, where in _nested(run, prefix):
        if not part.embeddings:
            _check_part(part, splits, where)


def _check_part(run: Run, splits: Splits, prefix: str) -> None:
    """The checks of `check_sizes` for one network."""
    if run.ensemble:
        try:
            teacher_shapes(run, run.data, splits)
        except ValueError as error:
            raise UserError(
                f"{prefix}ensemble: {error} have no {run.combine}; give all members one "
                'model.embedding_dim, or combine = "concatenation"'
            ) from error
        return
    if run.store_teacher and jax.process_count() > 1:
        raise UserError(
            f"{prefix}store_teacher: is for one process, and there are {jax.process_count()}; set "
            "it to False"
        )
    data, train = run.data, splits[run.data]["train"]
    channels = train.images.shape[-1]
    _check_channels(data, channels, prefix)
    if run.checkpoint:
        check_recorded(run, Path(run.checkpoint), prefix)
        found = read_facts(Path(run.checkpoint))["channels"]
        if found != channels:
            raise UserError(
                f"{prefix}checkpoint: {run.checkpoint} takes images of {found} channels, and those "
                f"of {prefix}data have {channels}; give another"
            )
        return
    read_weights(run.weights, run.model, data, channels)
    if not run.is_trained:
        return
    check_batch(
        len(train.class_names),
        data.batch_size,
        data.images_per_class,
        data.sampler,
        f"{prefix}data",
    )
    _check_augmentation(train.images, data.augmentation, f"{prefix}data.augmentation")
    if run.teacher:
        _check_classes(run, splits, prefix)
    _check_losses(run, splits, prefix)


def _check_losses(run: Run, splits: Splits, prefix: str) -> None:
    """Tries each loss of a run on arrays of its sizes."""
    data = run.data
    arrays = _shapes(run, data.batch_size, splits)
    if run.teacher:
        teacher = teacher_shapes(run.teacher, data, splits)
        arrays |= {f"teacher_{name}": array for name, array in teacher.items()}
    alone = data.images_per_class == 1 and data.sampler["name"] != "class_balanced"
    for field, losses in (("losses", run.losses), ("baseline", run.baseline)):
        for name, options in losses.items():
            where = f"{prefix}{field}.{name}"
            check_loss(name, options, arrays, where)
            if alone:
                per_class = f"{prefix}data.images_per_class"
                check_learns_alone(name, options, arrays, where, per_class)


def _check_channels(data: Data, channels: int, prefix: str) -> None:
    """Refuses a mean or standard deviation of other channels than the images have."""
    for field, value in {"mean": data.mean, "std": data.std}.items():
        if isinstance(value, tuple) and len(value) not in (1, channels):
            raise UserError(
                f"{prefix}data.{field}: has {len(value)} numbers, and images have {channels} "
                "channels; give one each, or one for all"
            )


def check_devices(run: Run, prefix: str = "") -> None:
    """Refuses a batch, of a run or of what it trains before, that the devices do not divide.

    Args:
      run: the run.
      prefix: of the run's fields in the outer config.

    Raises:
      UserError: names the field.
    """
    for part, where in _nested(run, prefix):
        if part.is_trained and not part.checkpoint:
            make_mesh(part.data.batch_size, where=f"{where}data")


def summary(run: Run, splits: Splits, workdir: Path) -> str:
    """What is about to happen, in a few lines: devices, data, networks, where it writes."""
    own = splits[run.data]
    classes = ", ".join(f"{len(own[name].class_names)} to {use}" for name, use in USES.items())
    size = "x".join(str(side) for side in own["train"].images.shape[1:])
    hosts = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    lines = {
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}{hosts}",
        "data": f"{run.data.source}, {size}; classes: {classes}",
    }
    if run.teacher:
        lines["teacher"] = _describe(run.teacher, splits)
    if run.baseline:
        lines["baseline"] = _describe(run.baseline_run, splits)
    lines["student" if run.teacher else "network"] = _describe(run, splits)
    lines["writes"] = str(workdir)
    return "\n".join(f"{name:<9} {line}" for name, line in lines.items())


def _describe(run: Run, splits: Splits) -> str:
    """A network in half a line: where it is from, or its model, size, steps and losses."""
    if run.ensemble:
        members = (_describe(member, splits) for member in run.ensemble.values())
        return f"{run.combine} of {'; '.join(members)}"
    if run.checkpoint or run.embeddings:
        return run.checkpoint or run.embeddings
    size = abstract_network(run, splits).num_parameters()
    start = f", from {run.weights.path}" if run.weights.path else ""
    steps = f", {run.steps:,} steps of {' + '.join(run.losses)}" if run.is_trained else ""
    return f"{run.model['name']}, {size:,} parameters{start}{steps}"


def _nested(run: Run, prefix: str) -> Iterator[tuple[Run, str]]:
    """The runs within a run, inner ones first, then the run; each with the prefix of its fields."""
    # A checkpoint's teacher is not used.
    if run.teacher and not run.checkpoint:
        yield from _nested(run.teacher, f"{prefix}teacher.")
    for name, member in run.ensemble.items():
        yield from _nested(member, f"{prefix}ensemble.{name}.")
    yield run, prefix


def abstract_network(run: Run, splits: Splits) -> Embedder:
    """A network whose variables are shapes alone.

    Args:
      run: of the network, or of an ensemble.
      splits: of its data.
    """
    if run.ensemble:
        members = {name: abstract_network(each, splits) for name, each in run.ensemble.items()}
        return make_ensemble(run, members, Path())
    train = splits[run.data]["train"]
    channels = train.images.shape[-1]
    model, _, initial_state = build(run, channels=channels, num_classes=len(train.class_names))
    state = jax.eval_shape(initial_state)
    return Network(run, model, state.evaluated, 0, 0.0, Path(), channels)


def teacher_shapes(teacher: Run, student: Data, splits: Splits) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of what a teacher gives the losses of a student, by name.

    Args:
      teacher: its run.
      student: data of the student.
      splits: of both.
    """
    if teacher.embeddings:
        vectors = read_teacher_embeddings(teacher.embeddings, splits[student]["train"]).vectors
        shape = (student.batch_size, vectors.shape[1])
        return {"embeddings": jax.ShapeDtypeStruct(shape, jnp.float32)}
    if teacher.ensemble:
        return _outputs(teacher, student.batch_size, splits)
    return _shapes(teacher, student.batch_size, splits)


def _shapes(run: Run, batch: int, splits: Splits) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of what a network and a batch give the losses."""
    arrays = _outputs(run, batch, splits)
    dim, classes = arrays["embeddings"].shape[-1], len(splits[run.data]["train"].class_names)
    return arrays | {
        "labels": jax.ShapeDtypeStruct((batch,), jnp.int32),
        "class_weights": jax.ShapeDtypeStruct((dim, classes), jnp.float32),
        "logits": jax.ShapeDtypeStruct((batch, classes), jnp.float32),
    }


def _outputs(run: Run, batch: int, splits: Splits) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a network's outputs for a batch."""
    network, images = abstract_network(run, splits), splits[_first(run).data]["train"].images
    rows = jax.ShapeDtypeStruct((batch, *images.shape[1:]), jnp.uint8)
    return jax.eval_shape(network.embed_step(), network.variables, rows)


def _first(run: Run) -> Run:
    """The first network of an ensemble, or the network itself."""
    return _first(next(iter(run.ensemble.values()))) if run.ensemble else run


def _check_augmentation(images: Images, augmentation: Mapping[str, Any], where: str) -> None:
    """Changes an image a few times in each way, so that no thread meets options that it cannot."""
    picture, size = images.picture(0), images.shape[1:3]
    for name, options in augmentation.items():
        try:
            for key in range(_TRIES):
                rng = np.random.default_rng(key)
                augment(picture, size, {name: options}, rng, crop=whole)
        except (ArithmeticError, TypeError, ValueError, cv2.error) as error:
            raise UserError(
                f"{where}.{name}: cannot be done ({' '.join(str(error).split())}); give other "
                f"numbers than {dict(options)}"
            ) from error


def _check_classes(run: Run, splits: Splits, prefix: str) -> None:
    """Refuses a teacher trained on classes that the student is measured on, or kd on other ones."""
    assert run.teacher is not None
    own = splits[run.data]
    for network, where in asked_networks(run.teacher, f"{prefix}teacher"):
        data = _trained_on(network)
        # Elsewhere the same name may be another class.
        if data is None or _source(data) != _source(run.data):
            continue
        seen = splits[dataclasses.replace(run.data, options=data.options)]["train"].class_names
        for name in ("validation", "test"):
            unseen = own[name].class_names
            both = sorted(set(seen).intersection(unseen))
            if both:
                raise UserError(
                    f"{where}.data.options: the teacher trains on {len(both)} of the "
                    f"{len(unseen)} {name} classes of {prefix}data, such as {both[0]!r}; give both "
                    "the same options"
                )
        if "logits" in run.loss_inputs and seen != own["train"].class_names:
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
