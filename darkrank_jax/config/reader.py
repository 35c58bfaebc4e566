"""A run read from a config, and refused in one line before anything is compiled."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from darkrank_jax.config.fields import check_fields, field_types
from darkrank_jax.config.names import (
    check_augmentation,
    check_file_name,
    check_name,
    check_named,
    check_not_negative,
    check_options,
    check_taken,
)
from darkrank_jax.config.run import HOLDERS, Data, Dataset, Evaluation, Run, Weights, needs_teacher
from darkrank_jax.data import SOURCES, height_and_width
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.protocols import PROTOCOLS
from darkrank_jax.losses import LOSSES
from darkrank_jax.losses.combination import sees_unlabelled
from darkrank_jax.models import MODELS, model_options
from darkrank_jax.optimizers import PARTS


def read_run(config: Mapping[str, Any], where: str = "") -> Run:
    """Turns a config into a `Run`, or says in one line what is wrong with it.

    Args:
      config: nested mapping of plain values, as `ml_collections.ConfigDict.to_dict()` gives.
      where: field of the outer config that holds this one; empty at the top.

    Returns:
      The run, and its teacher's run within it.

    Raises:
      UserError: unknown or missing fields, wrong types, unknown names in a table, arguments that
        a loss, model, optimizer, schedule, source or augmentation does not take, a batch that
        `images_per_class` does not divide.
    """
    prefix = f"{where}." if where else ""
    types = field_types(Run) | dict.fromkeys((*HOLDERS, "teacher"), dict)
    check_fields(config, types, where, required=list(types))
    parts: dict[str, Any] = {}
    for name, holder in HOLDERS.items():
        own = field_types(holder)
        check_fields(config[name], own, f"{prefix}{name}", required=list(own))
        parts[name] = holder(**config[name])
    teacher = config["teacher"]
    parts["teacher"] = read_run(teacher, f"{prefix}teacher") if teacher else None
    for name in config["ensemble"]:
        check_file_name(name, f"{prefix}ensemble", taken=("outputs",))
    parts["ensemble"] = {
        name: read_run(member, f"{prefix}ensemble.{name}")
        for name, member in config["ensemble"].items()
    }
    run = Run(**{**config, **parts})
    _check_origin(run, prefix)
    check_numbers(run, prefix)
    warmup = run.schedule.get("warmup_steps", 0)
    _check_one_length("epochs", run.epochs, "steps", run.steps, prefix)
    _check_one_length("warmup_epochs", run.warmup_epochs, "schedule.warmup_steps", warmup, prefix)
    _check_tables(run, prefix)
    _check_teacher(run, prefix)
    if run.mixup:
        places = {"store_teacher": run.store_teacher, "teacher.embeddings": run.teacher_file}
        _check_mixup(
            run.mixup, run.losses, [each for each, found in places.items() if found], prefix
        )
    _check_evaluation(run.evaluation, f"{prefix}evaluation")
    return run


def _check_origin(run: Run, prefix: str) -> None:
    """Refuses a network that comes from nowhere, or from several places at once."""
    places = {name: getattr(run, name) for name in ("checkpoint", "ensemble", "embeddings")}
    found = [name for name, value in places.items() if value]
    if len(found) > 1:
        raise UserError(
            f"{prefix}{found[1]}: stands beside {prefix}{found[0]}; a teacher comes from one of "
            "them, so leave the other empty"
        )
    if not prefix and (run.ensemble or run.embeddings):
        raise UserError(f"{found[0]}: is for a teacher; leave it empty to train this network")
    if prefix and run.hook:
        raise UserError(
            f"{prefix}hook: must be empty (got {run.hook!r}); the hook of the whole run hears of "
            "its teachers too"
        )
    for name, member in run.ensemble.items():
        if member.embeddings:
            raise UserError(
                f"{prefix}ensemble.{name}.embeddings: an ensemble is of networks; combine the "
                "vectors in one file, and give it to the teacher"
            )
    if not found:
        untrained = bool(prefix) and run.steps == run.epochs == 0
        _check_weights(run.weights, run.model, prefix, untrained=untrained)


def _check_weights(
    weights: Weights, model: Mapping[str, Any], prefix: str, *, untrained: bool
) -> None:
    """Refuses imported weights that would leave the embedding undefined or random."""
    dim, has_neck = model.get("embedding_dim"), model.get("head_batch_norm", False)
    for field in ("head", "neck", "prefix", "ignore"):
        if (given := getattr(weights, field)) and not weights.path:
            raise UserError(
                f"{prefix}weights.{field}: must be empty without {prefix}weights.path (got "
                f"{given!r}); give {prefix}weights.path"
            )
    if not all(isinstance(first, str) and first for first in weights.ignore):
        raise UserError(
            f"{prefix}weights.ignore: must be what names begin with (got {weights.ignore!r}); give "
            'texts such as ("projector.",)'
        )
    if weights.head and not dim:
        raise UserError(
            f"{prefix}weights.head: makes the embedding, and {prefix}model.embedding_dim is 0; "
            "give as many numbers as the layer makes"
        )
    if weights.neck and not has_neck:
        raise UserError(
            f"{prefix}weights.neck: is the embedding's batch norm, and the model has none; set "
            f"{prefix}model.head_batch_norm to True"
        )
    if not untrained:
        return
    if not weights.path:
        raise UserError(
            f"{prefix}steps: must be at least 1 without {prefix}weights.path (got 0); give a file "
            "of weights, or train"
        )
    if dim and not weights.head:
        raise UserError(
            f"{prefix}weights.head: must not be empty with {prefix}steps of 0, or the embedding is "
            f"random; name the file's layer, or set {prefix}model.embedding_dim to 0"
        )
    if has_neck and not weights.neck:
        raise UserError(
            f"{prefix}weights.neck: must not be empty with {prefix}steps of 0, or the embedding's "
            f"norm has no statistics; name the file's, or set {prefix}model.head_batch_norm to "
            "False"
        )


def check_numbers(run: Run, prefix: str) -> None:
    """Refuses numbers of a run outside their ranges; `prefix` is the field that holds it."""
    minima = {
        "seed": 0,
        # Only a teacher can be there already.
        "steps": 0 if prefix or run.epochs else 1,
        "epochs": 0,
        "warmup_epochs": 0,
        "log_every": 1,
        "eval_every": 1,
        "keep_checkpoints": 1,
        "clip_norm": 0,
        "ema_decay": 0,
        "freeze_steps": 0,
        "patience": 0,
        "mixup": 0,
        "chunks": 1,
        "profile": 0,
        "data.batch_size": 2,
        "data.images_per_class": 1,
        "data.views": 0,
        "data.num_threads": 1,
        "data.num_workers": 0,
    }
    for field, minimum in minima.items():
        holder, name = (run.data, field[5:]) if field.startswith("data.") else (run, field)
        if getattr(holder, name) < minimum:
            found = getattr(holder, name)
            raise UserError(f"{prefix}{field}: must be at least {minimum} (got {found})")
    if run.seed >= 2**32:
        # JAX's keys and scikit-learn's maps take 32 bits; JAX drops the others without a word.
        raise UserError(
            f"{prefix}seed: must be an integer from 0 to {2**32 - 1} (got {run.seed}); give another"
        )
    if run.learning_rate <= 0:
        raise UserError(f"{prefix}learning_rate: must be more than 0 (got {run.learning_rate})")
    for part, factor in run.learning_rates.items():
        check_name(part, PARTS, f"{prefix}learning_rates")
        if type(factor) not in (int, float) or not 0 <= factor < math.inf:
            raise UserError(
                f"{prefix}learning_rates.{part}: must be a factor of learning_rate, at least 0 "
                f"(got {factor!r})"
            )
    if not 0 < run.layer_decay <= 1:
        raise UserError(
            f"{prefix}layer_decay: must be more than 0 and at most 1 (got {run.layer_decay})"
        )
    if run.ema_decay >= 1:
        raise UserError(f"{prefix}ema_decay: must be less than 1 (got {run.ema_decay})")
    _check_images(run.data, f"{prefix}data")
    if run.chunks > 1 and run.data.batch_size % (run.chunks * run.data.images_per_class):
        raise UserError(
            f"{prefix}data.batch_size: must be divisible by {prefix}chunks * "
            f"{prefix}data.images_per_class = {run.chunks * run.data.images_per_class} (got "
            f"{run.data.batch_size}); give another number"
        )


def _check_one_length(field: str, epochs: float, other: str, steps: int, prefix: str) -> None:
    """Refuses a length, or a warm-up, that is given in steps and in epochs."""
    if epochs and steps:
        raise UserError(
            f"{prefix}{field}: must be 0 beside {prefix}{other} of {steps} (got {epochs}); set one "
            "of them to 0"
        )


def _check_images(data: Data, where: str) -> None:
    """Refuses sizes, levels and batches that no image or sampler can have."""
    size, wanted = data.image_size, "pixels, at least 8: one number, or (height, width)"
    sides = size if isinstance(size, tuple) else (size, size)
    if [type(side) for side in sides] != [int, int] or min(sides) < 8:
        raise UserError(f"{where}.image_size: must be {wanted} (got {size})")
    for field, value in {"mean": data.mean, "std": data.std}.items():
        numbers = value if isinstance(value, tuple) else (value,)
        if not numbers or not all(type(number) in (int, float) for number in numbers):
            raise UserError(f"{where}.{field}: must be a number, or one a channel (got {value!r})")
        if field == "std" and min(numbers) <= 0:
            raise UserError(f"{where}.std: must be more than 0 (got {value})")
    _check_unlabelled(data, f"{where}.unlabelled")
    per_class, others = data.images_per_class, data.sampler.get("others", 0)
    if (data.num_labelled - others) % per_class or others > data.num_labelled:
        raise UserError(
            f"{where}.batch_size: must hold whole classes of {per_class} images "
            f"({where}.images_per_class) (got {data.num_labelled - others} images); give a "
            f"multiple of {per_class}"
        )


def _check_unlabelled(data: Data, where: str) -> None:
    """Refuses images without labels of no place, or in a share that no batch has."""
    found = data.unlabelled
    if not found:
        return
    types = {"path": str, "share": float, "options": dict}
    check_fields(found, types, where, required=["path", "share"])
    check_taken("data.options", "unlabelled", found.get("options", {}), f"{where}.options")
    share, exact = found["share"], found["share"] * data.batch_size
    if not 0 < share < 1 or abs(exact - round(exact)) > 1e-6:
        raise UserError(
            f"{where}.share: must be between 0 and 1 and give a whole number of the "
            f"{data.batch_size} images of a batch (got {share}, {exact:g} images); for images "
            "without labels alone give data.source = unlabelled"
        )


def _check_tables(run: Run, prefix: str) -> None:
    """Refuses names that a table lacks and options that the named thing does not take."""
    data = run.data
    check_name(data.source, SOURCES, f"{prefix}data.source")
    check_taken("data.options", data.source, data.options, f"{prefix}data.options")
    check_augmentation(data.augmentation, f"{prefix}data.augmentation")
    check_name(run.model.get("name"), MODELS, f"{prefix}model.name")
    options = {"name": str} | model_options(run.model["name"])
    check_fields(run.model, options, f"{prefix}model", required=["embedding_dim"])
    for option, value in run.model.items():
        may_be_none = option in ("embedding_dim", "dropout")
        if type(value) in (int, float) and (value < 0 or (value == 0 and not may_be_none)):
            least = "at least 0" if may_be_none else "more than 0"
            raise UserError(f"{prefix}model.{option}: must be {least} (got {value})")
    parts = {"data.sampler": data.sampler, "optimizer": run.optimizer, "schedule": run.schedule}
    for field, part in parts.items():
        check_named(part, field, f"{prefix}{field}")
        check_not_negative(part, f"{prefix}{field}")
    if run.is_trained and not run.losses and not run.evaluation.networks:
        raise UserError(
            f"{prefix}losses: must not be empty; name at least one of: {', '.join(LOSSES)}"
        )
    for field in ("losses", "baseline"):
        for name, loss in getattr(run, field).items():
            check_name(name, LOSSES, f"{prefix}{field}")
            check_options(name, loss, f"{prefix}{field}.{name}")
            if "embeddings" in loss and not run.model.get("head_batch_norm"):
                raise UserError(
                    f"{prefix}{field}.{name}.embeddings: must be left out without a batch norm in "
                    f"the head (got {loss['embeddings']!r}); set {prefix}model.head_batch_norm to "
                    "True"
                )


def _check_teacher(run: Run, prefix: str) -> None:
    """Refuses losses that miss a teacher or logits, and a teacher that sees other images."""
    distilling = [name for name in run.losses if needs_teacher(name)]
    if distilling and run.teacher is None:
        raise UserError(
            f"{prefix}teacher: must not be empty for the loss {distilling[0]}; state a teacher, or "
            "leave the loss out"
        )
    for name in filter(needs_teacher, run.baseline):
        raise UserError(f"{prefix}baseline.{name}: a baseline has no teacher; name other losses")
    if run.data.asks_teacher and run.teacher is None:
        raise UserError(
            f"{prefix}data.sampler: hard_classes asks a teacher which classes are alike; state "
            f"{prefix}teacher, or name p_x_k"
        )
    if run.teacher is None:
        return
    networks = run.teacher.embedding_networks(f"{prefix}teacher")
    sizes = {where: network.data.image_size for network, where in networks}
    if run.views_from_outside:
        sizes[f"{prefix}teacher"] = run.teacher.data.image_size
    _check_image_sizes(run.data, sizes, prefix)
    known = run.teacher.outputs
    for name in run.losses:
        asked = [x for x in LOSSES[name].inputs if x.startswith("teacher_") and x not in known]
        if asked:
            raise UserError(
                f"{prefix}losses.{name}: takes {asked[0]}, and of this {prefix}teacher there is "
                f"only {', '.join(known)}; name other losses"
            )
    if "logits" in run.loss_inputs:
        for holder, where in ((run, f"{prefix}losses"), (run.teacher, f"{prefix}teacher.losses")):
            if len(holder.class_weights) != 1:
                raise UserError(
                    f"{where}: kd compares class logits, so exactly one classification loss must "
                    "be there; add normalized_softmax"
                )


def _check_mixup(
    mixup: float, losses: Mapping[str, Any], unmixed: Sequence[str], prefix: str
) -> None:
    """Refuses mixed images where a loss learns from labels, or no teacher sees them."""
    for name in losses:
        if not sees_unlabelled(name) or "logits" in LOSSES[name].inputs:
            raise UserError(
                f"{prefix}mixup: must be 0 beside {prefix}losses.{name}, which learns from labels "
                f"(got {mixup}); name losses that compare with a teacher alone"
            )
    for field in unmixed:
        raise UserError(
            f"{prefix}mixup: must be 0 beside {prefix}{field}, which is of images as they are "
            f"(got {mixup}); leave one of them out"
        )


def _check_image_sizes(student: Data, sizes: Mapping[str, Any], prefix: str) -> None:
    """Refuses teachers, field -> image size, that cannot see the student's images at that size."""
    height, width = height_and_width(student.image_size)
    first = next(iter(sizes.values()), student.image_size)
    own_height, own_width = height_and_width(first)
    for where, size in sizes.items():
        if size != first:
            raise UserError(
                f"{where}.data.image_size: must be {first}, as of the first of the ensemble (got "
                f"{size}); give all members the same"
            )
        if height * own_width != width * own_height:
            raise UserError(
                f"{where}.data.image_size: must have the shape of the student's {height} x {width} "
                f"(got {own_height} x {own_width}); they see the same part of a picture"
            )
    if (height, width) != (own_height, own_width) and "random_crop" in student.augmentation:
        raise UserError(
            f"{prefix}data.augmentation.random_crop: moves by pixels, and teacher and student have "
            "images of different sizes; use resized_random_crop or random_affine"
        )


def _check_evaluation(evaluation: Evaluation, where: str) -> None:
    """Refuses what names no network or dataset; the names become names of files."""
    for name in evaluation.datasets:
        check_file_name(name, f"{where}.datasets")
    for name in evaluation.networks:
        check_file_name(name, f"{where}.networks", taken=("images",))
    for name, options in evaluation.protocols.items():
        check_name(name, PROTOCOLS, f"{where}.protocols")
        check_fields({name: options}, {name: dict}, f"{where}.protocols", required=[])
        check_taken("evaluation.protocols", name, options, f"{where}.protocols.{name}")
    for name, place in evaluation.networks.items():
        places = list(place.values()) if isinstance(place, Mapping) else [place]
        if not all(isinstance(each, str) and each and "\0" not in each for each in places):
            raise UserError(
                f"{where}.networks.{name}: must be the workdir of a finished run, a file of "
                f"embeddings, or {{dataset: file}} (got {place!r})"
            )
    for name, fields in evaluation.datasets.items():
        _check_dataset(fields, f"{where}.datasets.{name}")
    if evaluation.distractors:
        _check_dataset(evaluation.distractors, f"{where}.distractors")


def _check_dataset(fields: Any, where: str) -> None:
    """Refuses what names no images."""
    if not isinstance(fields, Mapping):
        raise UserError(f'{where}: must be {{"source": ..., "split": "test"}} (got {fields!r})')
    check_fields(fields, field_types(Dataset), where, required=["source"])
    check_name(fields["source"], SOURCES, f"{where}.source")
    check_taken("data.options", fields["source"], fields.get("options", {}), f"{where}.options")
