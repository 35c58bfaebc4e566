"""A run as plain typed values, read from a config and checked before anything is compiled."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from darkrank_jax.data import AUGMENTATIONS, CROPS, SAMPLERS, SOURCES, height_and_width
from darkrank_jax.errors import UserError, nearest
from darkrank_jax.losses import LOSSES
from darkrank_jax.models import MODELS, model_options
from darkrank_jax.training.arguments import check_arguments, check_fields, field_types
from darkrank_jax.training.optimizers import OPTIMIZERS, SCHEDULES


@dataclasses.dataclass(frozen=True)
class Data:
    """Where images come from and how a batch is made of them; configs/default.py says each."""

    source: str
    path: str
    options: dict
    image_size: int | tuple
    mean: float | tuple
    std: float | tuple
    batch_size: int
    images_per_class: int
    sampler: dict
    augmentation: dict
    num_threads: int


@dataclasses.dataclass(frozen=True)
class Run:
    """One network to train, and the run of its teacher; configs/default.py says each field."""

    seed: int
    model: dict
    data: Data
    losses: dict
    teacher: "Run | None"
    checkpoint: str
    baseline: dict
    steps: int
    optimizer: dict
    learning_rate: float
    schedule: dict
    clip_norm: float
    ema_decay: float
    log_every: int
    eval_every: int
    keep_checkpoints: int
    expected_minutes: float


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
    types = field_types(Run) | {"data": dict, "teacher": dict}
    check_fields(config, types, where, required=list(types))
    data_types = field_types(Data)
    check_fields(config["data"], data_types, f"{prefix}data", required=list(data_types))
    teacher = config["teacher"]
    run = Run(
        **{name: value for name, value in config.items() if name not in ("data", "teacher")},
        data=Data(**config["data"]),
        teacher=read_run(teacher, f"{prefix}teacher") if teacher else None,
    )
    _check_numbers(run, prefix)
    _check_tables(run, prefix)
    _check_teacher(run, prefix)
    return run


def baseline_of(run: Run) -> Run:
    """The same student, trained alone on the losses that `run.baseline` names."""
    return dataclasses.replace(run, losses=run.baseline, teacher=None, baseline={})


def needs_teacher(loss: str) -> bool:
    """Whether a loss compares with a teacher."""
    return any(name.startswith("teacher_") for name in LOSSES[loss].inputs)


def classification_losses(run: Run) -> list[str]:
    """The run's losses that hold a weight vector for each training class."""
    return [name for name in run.losses if "class_weights" in LOSSES[name].inputs]


def needs_logits(run: Run) -> bool:
    """Whether a loss of the run compares class logits."""
    return any("logits" in LOSSES[name].inputs for name in run.losses)


def describe(run: Run) -> dict[str, Any]:
    """The run as nested plain values, as `config.json` and `results.json` hold it."""
    return dataclasses.asdict(run) | {"teacher": describe(run.teacher) if run.teacher else {}}


def _check_numbers(run: Run, prefix: str) -> None:
    """Refuses numbers outside their ranges."""
    minima = {
        "steps": 1,
        "log_every": 1,
        "eval_every": 1,
        "keep_checkpoints": 1,
        "clip_norm": 0,
        "ema_decay": 0,
        "data.batch_size": 2,
        "data.images_per_class": 1,
        "data.num_threads": 1,
    }
    for field, minimum in minima.items():
        holder, name = (run.data, field[5:]) if field.startswith("data.") else (run, field)
        if getattr(holder, name) < minimum:
            found = getattr(holder, name)
            raise UserError(f"{prefix}{field}: is {found}; give at least {minimum}")
    if run.ema_decay >= 1:
        raise UserError(f"{prefix}ema_decay: is {run.ema_decay}; give less than 1")
    _check_images(run.data, f"{prefix}data")


def _check_images(data: Data, where: str) -> None:
    """Refuses sizes, levels and batches that no image or sampler can have."""
    size, wanted = data.image_size, "give pixels, at least 8: one number, or (height, width)"
    if isinstance(size, tuple) and [type(side) for side in size] != [int, int]:
        raise UserError(f"{where}.image_size: is {size}; {wanted}")
    if min(height_and_width(size)) < 8:
        raise UserError(f"{where}.image_size: is {size}; {wanted}")
    for name in ("mean", "std"):
        level = getattr(data, name)
        levels = level if isinstance(level, tuple) else (level,)
        if not levels or any(isinstance(x, bool) or not isinstance(x, int | float) for x in levels):
            raise UserError(f"{where}.{name}: is {level}; give a number, or one for each channel")
        if name == "std" and min(levels) <= 0:
            raise UserError(f"{where}.std: is {level}; give more than 0")
    per_class, others = data.images_per_class, data.sampler.get("others", 0)
    if (data.batch_size - others) % per_class or others > data.batch_size:
        raise UserError(
            f"{where}.batch_size: {data.batch_size - others} images are no whole number of classes "
            f"of {per_class} (data.images_per_class); give a multiple of {per_class}"
        )


def _check_tables(run: Run, prefix: str) -> None:
    """Refuses names that a table lacks and options that the named thing does not take."""
    data = run.data
    _check_name(data.source, SOURCES, f"{prefix}data.source")
    given = ("image_size", "path")
    check_arguments(SOURCES[data.source], data.options, f"{prefix}data.options", given=given)
    _check_augmentation(data.augmentation, f"{prefix}data.augmentation")
    _check_name(run.model.get("name"), MODELS, f"{prefix}model.name")
    options = {"name": str} | model_options(run.model["name"])
    check_fields(run.model, options, f"{prefix}model", required=["embedding_dim"])
    given = ("classes", "seed", "step", "batch_size", "images_per_class", "neighbors")
    _check_named(data.sampler, SAMPLERS, f"{prefix}data.sampler", given)
    for field, table, given in (
        ("optimizer", OPTIMIZERS, ("learning_rate", "mask")),
        ("schedule", SCHEDULES, ("value", "steps")),
    ):
        _check_named(getattr(run, field), table, f"{prefix}{field}", given)
    if not run.losses:
        raise UserError(f"{prefix}losses: is empty; name at least one of: {', '.join(LOSSES)}")
    for field in ("losses", "baseline"):
        for name, loss in getattr(run, field).items():
            _check_name(name, LOSSES, f"{prefix}{field}")
            _check_loss(name, loss, f"{prefix}{field}.{name}")


def _check_augmentation(augmentation: Mapping[str, Any], where: str) -> None:
    """Refuses unknown changes of an image and their options, and a second crop."""
    for name, options in augmentation.items():
        _check_name(name, CROPS | AUGMENTATIONS, where)
        given = ("image", "rng") if name in AUGMENTATIONS else ("width", "height", "size", "rng")
        check_arguments((CROPS | AUGMENTATIONS)[name], options, f"{where}.{name}", given=given)
    crops = sorted(augmentation.keys() & CROPS.keys())
    if len(crops) > 1:
        raise UserError(f"{where}: {' and '.join(crops)} both cut the image out; name one of them")


def _check_loss(name: str, loss: Any, where: str) -> None:
    """Refuses a loss without a weight, or with arguments that its function does not take."""
    if not isinstance(loss, Mapping) or "weight" not in loss:
        raise UserError(f'{where}: has no weight; give {{"weight": 1.0, ...}}')
    weight = loss["weight"]
    if isinstance(weight, Mapping):
        options = {option: x for option, x in weight.items() if option != "value"}
        _check_named(options, SCHEDULES, f"{where}.weight", ("value", "steps"))
        weight = weight.get("value")
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise UserError(f"{where}.weight: is {weight!r}; give a number or a schedule with a value")
    arguments = {argument: x for argument, x in loss.items() if argument != "weight"}
    positional = _array_parameters(name)
    check_arguments(
        LOSSES[name].function, arguments, where, given=(*positional, "key", "where", "reduce_fn")
    )


def _array_parameters(loss: str) -> list[str]:
    """The parameters of a loss that take arrays, which the training step passes."""
    parameters = inspect.signature(LOSSES[loss].function).parameters.values()
    return [p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]


def _check_named(config: Mapping[str, Any], table: Mapping, where: str, given: tuple) -> None:
    """Refuses a mapping with a name that the table lacks, or options its entry does not take."""
    if "name" not in config:
        raise UserError(f"{where}.name: missing; valid: {', '.join(sorted(table))}")
    _check_name(config["name"], table, f"{where}.name")
    options = {option: value for option, value in config.items() if option != "name"}
    check_arguments(table[config["name"]], options, where, given=given)


def _check_name(name: Any, table: Mapping, where: str) -> None:
    """Refuses a name that a table lacks."""
    if name not in table:
        raise UserError(f"{where}: unknown name {name!r}; {nearest(str(name), table)}")


def _check_teacher(run: Run, prefix: str) -> None:
    """Refuses losses that miss a teacher or logits, and a teacher that sees other images."""
    distilling = [name for name in run.losses if needs_teacher(name)]
    if distilling and run.teacher is None:
        raise UserError(f"{prefix}losses.{distilling[0]}: needs a teacher; state {prefix}teacher")
    for name in filter(needs_teacher, run.baseline):
        raise UserError(f"{prefix}baseline.{name}: a baseline has no teacher; name other losses")
    if run.data.sampler["name"] == "hard_classes" and run.teacher is None:
        raise UserError(
            f"{prefix}data.sampler: hard_classes asks a teacher which classes are alike; state "
            f"{prefix}teacher, or name p_x_k"
        )
    if run.teacher and run.teacher.data.image_size != run.data.image_size:
        raise UserError(
            f"{prefix}teacher.data.image_size: is {run.teacher.data.image_size}, the student's is "
            f"{run.data.image_size}; give both the same"
        )
    if needs_logits(run):
        for holder, where in ((run, f"{prefix}losses"), (run.teacher, f"{prefix}teacher.losses")):
            if holder and len(classification_losses(holder)) != 1:
                raise UserError(
                    f"{where}: kd compares class logits, so exactly one classification loss must "
                    "be there; add normalized_softmax"
                )
