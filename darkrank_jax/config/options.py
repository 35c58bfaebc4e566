"""Options that a source, model, loss or another named thing takes in a config."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from darkrank_jax.config.fields import argument_types
from darkrank_jax.data import AUGMENTATIONS, CROPS, SAMPLERS, SOURCES
from darkrank_jax.evaluation.protocols import PROTOCOLS
from darkrank_jax.losses import LOSSES
from darkrank_jax.models import MODELS, model_options
from darkrank_jax.optimizers import OPTIMIZERS, SCHEDULES

_PASSED = ("key", "where", "weights", "reduce_fn")
# Field -> tables of what takes its options, and the parameters that the program itself passes,
# which no config may state.
_TABLES: dict[str, list[tuple[Mapping[str, Any], tuple[str, ...]]]] = {
    "data.options": [(SOURCES, ("image_size", "path"))],
    "data.augmentation": [
        (CROPS, ("width", "height", "size", "rng")),
        (AUGMENTATIONS, ("image", "rng")),
    ],
    "data.sampler": [
        (
            SAMPLERS,
            ("classes", "seed", "step", "batch_size", "images_per_class", "neighbors"),
        )
    ],
    "evaluation.protocols": [(PROTOCOLS, ("images",))],
    "optimizer": [(OPTIMIZERS, ("learning_rate", "mask"))],
    "schedule": [(SCHEDULES, ("value", "steps"))],
    "losses": [(LOSSES, _PASSED)],
    "baseline": [(LOSSES, _PASSED)],
}
# What a loss's entry may hold beside its weight and arguments.
_OF_AN_ENTRY = {"prefixes": tuple, "embeddings": str}
# Fields that hold options themselves -> the field that names what they are of; the other fields
# above hold them by name.
_NAMED_BY = {
    "data.options": "data.source",
    "data.sampler": "data.sampler.name",
    "optimizer": "optimizer.name",
    "schedule": "schedule.name",
}
# A teacher, or a member of an ensemble, is a run within a run.
_RUNS = re.compile(r"(?:teacher\.|ensemble\.[^.]+\.)*")


def known_options(field: str, value: Callable[[str], Any]) -> dict[str, Any]:
    """The options that a field of a run's config may hold, by the signature of what takes them.

    Args:
      field: dotted, such as "data.options", "losses.triplet" or "teacher.model".
      value: gives the value of a dotted field, such as "teacher.model.name".

    Returns:
      Type by option; empty where the field holds no options, or those of an unknown name.

    Example:
      >>> known_options("losses.triplet", {}.get)["margin"]
      <class 'float'>
      >>> sorted(known_options("optimizer", {"optimizer.name": "sgd"}.get))
      ['momentum', 'nesterov', 'weight_decay']
    """
    run = _RUNS.match(field)[0]  # pyright: ignore[reportOptionalSubscript]
    own = field.removeprefix(run)
    if own == "model":
        name = value(f"{run}model.name")
        return model_options(name) if name in MODELS else {}
    holder, _, name = own.rpartition(".")
    if own in _NAMED_BY:
        holder, name = own, value(f"{run}{_NAMED_BY[own]}")
    if not any(name in table for table, _ in _TABLES.get(holder, [])):
        return {}
    function, given = taker(holder, name)
    beside = _OF_AN_ENTRY if holder in ("losses", "baseline") else {}
    return {**argument_types(function, given=given), **beside}


def names_of(field: str) -> set[str]:
    """The names that a field of a run's config may give, such as those of losses."""
    return {name for table, _ in _TABLES[field] for name in table}


def taker(field: str, name: str) -> tuple[Callable, tuple[str, ...]]:
    """The function that takes the options of a field.

    Args:
      field: of a run's config, such as "data.options" or "losses".
      name: in the table of the field.

    Returns:
      The function, and its parameters that no config may state, since the program passes them.
    """
    table, given = next(each for each in _TABLES[field] if name in each[0])
    if table is not LOSSES:
        return table[name], given
    parameters = inspect.signature(LOSSES[name].function).parameters.values()
    arrays = [p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    return LOSSES[name].function, (*arrays, *given)


def default_options(name: str) -> dict[str, Any]:
    """What a loss takes where a config does not say it.

    Example:
      >>> default_options("triplet")["margin"]
      0.2
    """
    parameters = inspect.signature(LOSSES[name].function).parameters.values()
    given = [p for p in parameters if p.kind is p.KEYWORD_ONLY and not callable(p.default)]
    return {p.name: p.default for p in given if p.default is not p.empty}
