"""Checks of what a config names in a table, such as an optimizer, a loss or an augmentation."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

from darkrank_jax.data import AUGMENTATIONS, CROPS
from darkrank_jax.errors import UserError, nearest
from darkrank_jax.losses import LOSSES
from darkrank_jax.training.arguments import check_arguments
from darkrank_jax.training.optimizers import SCHEDULES


def check_name(name: Any, table: Mapping, where: str) -> None:
    """Refuses a name that a table lacks."""
    if name not in table:
        raise UserError(f"{where}: unknown name {name!r}; {nearest(str(name), table)}")


def check_named(config: Mapping[str, Any], table: Mapping, where: str, given: tuple) -> None:
    """Refuses a mapping with a name that the table lacks, or options its entry does not take."""
    if "name" not in config:
        raise UserError(f"{where}.name: missing; valid: {', '.join(sorted(table))}")
    check_name(config["name"], table, f"{where}.name")
    options = {option: value for option, value in config.items() if option != "name"}
    check_arguments(table[config["name"]], options, where, given=given)


def check_not_negative(options: Mapping[str, Any], where: str) -> None:
    """Refuses numbers below 0, which no schedule, optimizer or sampler has a use for."""
    for name, value in options.items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float) and number < 0:
                raise UserError(f"{where}.{name}: is {value}; give at least 0")


def check_augmentation(augmentation: Mapping[str, Any], where: str) -> None:
    """Refuses unknown changes of an image and their options, and a second crop."""
    for name, options in augmentation.items():
        check_name(name, CROPS | AUGMENTATIONS, where)
        given = ("image", "rng") if name in AUGMENTATIONS else ("width", "height", "size", "rng")
        check_arguments((CROPS | AUGMENTATIONS)[name], options, f"{where}.{name}", given=given)
    crops = sorted(augmentation.keys() & CROPS.keys())
    if len(crops) > 1:
        raise UserError(f"{where}: {' and '.join(crops)} both cut the image out; name one of them")


def check_options(name: str, loss: Any, where: str) -> None:
    """Refuses a loss without a weight, or with arguments that its function does not take."""
    if not isinstance(loss, Mapping) or "weight" not in loss:
        raise UserError(f'{where}: has no weight; give {{"weight": 1.0, ...}}')
    weight = loss["weight"]
    if isinstance(weight, Mapping):
        options = {option: x for option, x in weight.items() if option != "value"}
        check_named(options, SCHEDULES, f"{where}.weight", ("value", "steps"))
        check_not_negative(options, f"{where}.weight")
        weight = weight.get("value")
    if type(weight) is bool or not isinstance(weight, int | float) or not math.isfinite(weight):
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
