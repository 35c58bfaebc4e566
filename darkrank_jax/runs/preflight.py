"""Checks before a run starts: data, sizes, losses on those sizes; and a summary of the run."""

import dataclasses
import functools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np

from darkrank_jax.config.description import describe
from darkrank_jax.config.run import Data, Run
from darkrank_jax.data import Images, check_batch
from darkrank_jax.data.pixels.augmentation import augment
from darkrank_jax.data.pixels.crops import whole
from darkrank_jax.errors import UserError
from darkrank_jax.losses import LOSSES
from darkrank_jax.losses.combination import first_rows, sees_unlabelled
from darkrank_jax.runs.loss_checks import check_learns_alone, check_loss
from darkrank_jax.runs.shapes import Networks, Shapes, abstract_network, abstract_teacher, arrays_of
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training.initial_weights import read_weights
from darkrank_jax.training.network import Embedder, Ensemble, check_recorded, make_ensemble
from darkrank_jax.training.teacher.views import check_views, views_of
from darkrank_jax.workdir.run_file import read_facts

# Draws of each augmentation, some of which change an image only now and then.
_TRIES = 16
NO_LABELS = (
    "its data has no labels; name images with labels in evaluation.datasets and give --mode eval"
)
USES = {"train": "train on", "validation": "validate on", "test": "test on"}


def check_sizes(run: Run, splits: Splits, prefix: str = "") -> Networks:
    """Refuses a run whose losses, classes and networks do not fit together, nothing compiled.

    Args:
      run: the run; its teacher and baseline are checked as well.
      splits: of the run and its teachers.
      prefix: of the run's fields in the outer config.

    Returns:
      The networks by the prefix of their fields, their variables as shapes alone.

    Raises:
      UserError: from the data, the model, or a loss on arrays of the run's sizes.
    """
    networks: Networks = {}
    for part, where in run.nested(prefix):
        if part.ensemble:
            members = {name: networks[f"{where}ensemble.{name}."] for name in part.ensemble}
            networks[where] = ensemble = make_ensemble(part, members, Path())
            _check_ensemble(ensemble, splits, where)
        elif not part.embeddings:
            _check_network(part, splits, where)
            networks[where] = abstract_network(part, splits)
            if part.is_trained and not part.checkpoint:
                size = part.data.batch_size
                own = arrays_of(networks[where], size, splits)
                train = splits[part.data]["train"]
                teacher = abstract_teacher(part.teacher_file, train, networks, where)
                outputs = arrays_of(teacher, size, splits).items()
                taught = {f"teacher_{name}": array for name, array in outputs}
                fields = {"losses": part.losses, "baseline": part.baseline}
                _check_losses(fields, part.data, own | taught, where)
    return networks


def _check_ensemble(ensemble: Ensemble, splits: Splits, prefix: str) -> None:
    """Refuses members whose embeddings cannot be combined."""
    run = ensemble.run
    try:
        arrays_of(ensemble, run.data.batch_size, splits)
    except ValueError as error:
        raise UserError(
            f"{prefix}ensemble: {error} have no {run.combine}; give all members one "
            'model.embedding_dim, or combine = "concatenation"'
        ) from error


def _check_network(run: Run, splits: Splits, prefix: str) -> None:
    """Refuses a network that is no ensemble, or its data, before it is built."""
    data, train = run.data, splits[run.data]["train"]
    channels = train.images.shape[-1]
    _check_channels(data, channels, prefix)
    if run.checkpoint:
        check_recorded(describe(run), Path(run.checkpoint), prefix)
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
    if not train.class_names:
        _check_labels({"losses": run.losses, "baseline": run.baseline}, data, prefix)
    check_batch(
        len(train.class_names),
        data.num_labelled,
        data.images_per_class,
        data.sampler,
        f"{prefix}data",
    )
    _check_augmentation(train.images, data.augmentation, f"{prefix}data.augmentation")
    if run.views_from_outside:
        views = views_of(data, splits[run.teacher_data]["train"])
        check_views(Path(run.teacher_file), views, run.store_dtype)
    if run.teacher:
        teachers = run.teacher.embedding_networks(f"{prefix}teacher")
        _check_classes(teachers, data, splits, prefix, kd="logits" in run.loss_inputs)


def _check_labels(fields: Mapping[str, Iterable[str]], data: Data, prefix: str) -> None:
    """Refuses losses and a sampler that need labels, where images have none."""
    for field, losses in fields.items():
        for name in losses:
            if not sees_unlabelled(name) or "logits" in LOSSES[name].inputs:
                raise UserError(
                    f"{prefix}{field}.{name}: learns from labels, and the images of "
                    f"{prefix}data.source {data.source!r} have none; name losses that compare "
                    "with a teacher, such as darkrank_soft"
                )
    if data.sampler["name"] != "random":
        raise UserError(
            f"{prefix}data.sampler.name: must be random, since the images of {prefix}data.source "
            f"{data.source!r} have no labels (got {data.sampler['name']}); give random"
        )


def _check_losses(
    fields: Mapping[str, Mapping[str, Any]], data: Data, arrays: Shapes, prefix: str
) -> None:
    """Tries each loss of each field on arrays of a run's sizes."""
    alone = data.images_per_class == 1 and data.sampler["name"] not in ("class_balanced", "random")
    for field, losses in fields.items():
        for name, options in losses.items():
            where = f"{prefix}{field}.{name}"
            rows = None if sees_unlabelled(name) else data.num_labelled
            seen = jax.eval_shape(functools.partial(first_rows, count=rows), arrays)
            check_loss(name, options, seen, where)
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


def summary(run: Run, networks: Networks, splits: Splits, workdir: Path) -> str:
    """What is about to happen, in a few lines: devices, data, networks, where it writes.

    Args:
      run: the run.
      networks: of `check_sizes`.
      splits: of the run.
      workdir: that it writes.
    """
    own = splits[run.data]
    unit, counted = "classes", {name: len(split.class_names) for name, split in own.items()}
    if not own["train"].class_names:
        unit, counted = "unlabelled images", {n: len(s.labels) for n, s in own.items()}
    counts = ", ".join(f"{counted[name]:,} to {USES[name]}" for name in USES if name in own)
    if number := len(own["train"].labels) - own["train"].num_labelled if unit == "classes" else 0:
        counts += f"; {number:,} unlabelled images"
    size = "x".join(str(side) for side in own["train"].images.shape[1:])
    hosts = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    lines = {
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}{hosts}",
        "data": f"{run.data.source}, {size}; {unit}: {counts}",
    }
    if run.teacher:
        lines["teacher"] = run.teacher.embeddings or _describe(networks["teacher."])
    if run.baseline:
        lines["baseline"] = _describe(networks[""], run.baseline)
    lines["student" if run.teacher else "network"] = _describe(networks[""], run.losses)
    lines["writes"] = str(workdir)
    return "\n".join(f"{name:<9} {line}" for name, line in lines.items())


def _describe(network: Embedder, losses: Iterable[str] = ()) -> str:
    """A network in half a line: where it is from, or its model, size, steps and losses."""
    run = network.run
    if isinstance(network, Ensemble):
        return f"{run.combine} of {'; '.join(map(_describe, network.members.values()))}"
    if run.checkpoint:
        return run.checkpoint
    start = f", from {run.weights.path}" if run.weights.path else ""
    trained = f", {run.steps:,} steps of {' + '.join(losses or run.losses)}"
    size = f"{run.model['name']}, {network.num_parameters():,} parameters"
    return f"{size}{start}{trained if run.is_trained else ''}"


def _check_augmentation(images: Images, augmentation: Mapping[str, Any], where: str) -> None:
    """Changes an image a few times in each way, so that no thread meets options that it cannot."""
    picture, size = images.picture(0), images.shape[1:3]
    for name, options in augmentation.items():
        try:
            for key in range(_TRIES):
                rng = np.random.default_rng(key)
                augment([picture], [size], {name: options}, rng, crop=whole)
        except (ArithmeticError, TypeError, ValueError, cv2.error) as error:
            raise UserError(
                f"{where}.{name}: cannot be done ({' '.join(str(error).split())}); give other "
                f"numbers than {dict(options)}"
            ) from error


def _check_classes(
    teachers: Iterable[tuple[Run, str]], student: Data, splits: Splits, prefix: str, *, kd: bool
) -> None:
    """Refuses a teacher trained on classes that the student is measured on, or kd on other ones."""
    own = splits[student]
    for network, where in teachers:
        data = network.data if network.is_trained else None
        if network.checkpoint:
            data = _recorded_data(network.checkpoint, network.data)
        # Elsewhere the same name may be another class.
        if data is None or _source(data) != _source(student):
            continue
        seen = splits[dataclasses.replace(student, options=data.options)]["train"].class_names
        for name in ("validation", "test"):
            unseen = own[name].class_names if name in own else ()
            both = sorted(set(seen).intersection(unseen))
            if both:
                raise UserError(
                    f"{where}.data.options: the teacher trains on {len(both)} of the "
                    f"{len(unseen)} {name} classes of {prefix}data, such as {both[0]!r}; give both "
                    "the same options"
                )
        if kd and seen != own["train"].class_names:
            raise UserError(
                f"{where}.data.options: kd compares class logits, and the teacher trains on other "
                f"classes than {prefix}data; give both the same options"
            )


def _recorded_data(checkpoint: str, data: Data) -> Data:
    """The data that a checkpoint was trained on, as its own run.json says."""
    recorded = read_facts(Path(checkpoint))["run"]["data"]
    return dataclasses.replace(data, **{n: recorded[n] for n in ("source", "path", "options")})


def _source(data: Data) -> tuple[str, str]:
    """Where images come from."""
    return data.source, os.path.realpath(data.path)
