"""Checks of what a config names in a table, such as an optimizer, a loss or an augmentation."""

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from darkrank_jax.config.fields import check_arguments
from darkrank_jax.config.options import names_of, taker
from darkrank_jax.data import CROPS
from darkrank_jax.errors import UserError, nearest
from darkrank_jax.losses import loss_arguments
from darkrank_jax.losses.combination import HEAD_STAGES

# Longer ones, with an ending, are too long for some file systems.
_LONGEST = 200


def check_file_name(name: Any, where: str, taken: Collection[str] = ()) -> None:
    """Refuses a name that becomes that of a folder or file, and could lead elsewhere.

    Args:
      name: of an ensemble's member, a network or a dataset.
      where: the field that holds it.
      taken: names of other files in that folder.

    Raises:
      UserError: it is taken, longer than 200 bytes, or not made of letters, digits and _, with
        . + - and spaces between them.

    Example:
      >>> check_file_name("../a", "teacher.ensemble")
      Traceback (most recent call last):
      darkrank_jax.errors.UserError: teacher.ensemble: names must be names of files, of letters, \
digits and _, with . + - and spaces between them (got '../a'); choose another
    """
    fits = isinstance(name, str) and re.fullmatch(r"\w([\w .+-]*[\w+-])?", name)
    if not fits or len(name.encode()) > _LONGEST:
        shown = repr(name) if len(repr(name)) <= _LONGEST else f"{repr(name)[:50]}..."
        raise UserError(
            f"{where}: names must be names of files, of letters, digits and _, with . + - and "
            f"spaces between them (got {shown}); choose another"
        )
    if name in taken:
        raise UserError(
            f"{where}: names must not be {name!r}, which a file beside them has; choose another"
        )


def check_name(name: Any, table: Collection[str], where: str) -> None:
    """Refuses a name that a table lacks."""
    if name not in table:
        raise UserError(f"{where}: unknown name {name!r}; {nearest(str(name), table)}")


def check_taken(field: str, name: str, options: Mapping[str, Any], where: str) -> None:
    """Refuses options that what a field names does not take; `training.options` has the fields."""
    function, given = taker(field, name)
    check_arguments(function, options, where, given=given)


def check_named(config: Mapping[str, Any], field: str, where: str) -> None:
    """Refuses a mapping without a known "name", or with options that the named does not take."""
    names = names_of(field)
    if "name" not in config:
        raise UserError(f"{where}.name: must be one of {', '.join(sorted(names))} (got nothing)")
    check_name(config["name"], names, f"{where}.name")
    options = {option: value for option, value in config.items() if option != "name"}
    check_taken(field, config["name"], options, where)


def check_not_negative(options: Mapping[str, Any], where: str) -> None:
    """Refuses numbers below 0, which no schedule, optimizer or sampler has a use for."""
    for name, value in options.items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float) and number < 0:
                raise UserError(f"{where}.{name}: must be at least 0 (got {value})")


def check_augmentation(augmentation: Mapping[str, Any], where: str) -> None:
    """Refuses unknown changes of an image and their options, and a second crop."""
    for name, options in augmentation.items():
        check_name(name, names_of("data.augmentation"), where)
        check_taken("data.augmentation", name, options, f"{where}.{name}")
    crops = sorted(augmentation.keys() & CROPS.keys())
    if len(crops) > 1:
        raise UserError(f"{where}: {' and '.join(crops)} both cut the image out; name one of them")


def check_options(name: str, loss: Any, where: str) -> None:
    """Refuses a loss without a weight, or with arguments that its function does not take."""
    if not isinstance(loss, Mapping) or "weight" not in loss:
        raise UserError(
            f'{where}: must be a mapping with a weight (got {loss!r}); give {{"weight": 1.0, ...}}'
        )
    weight = loss["weight"]
    if isinstance(weight, Mapping):
        options = {option: x for option, x in weight.items() if option != "value"}
        check_named(options, "schedule", f"{where}.weight")
        check_not_negative(options, f"{where}.weight")
        weight = weight.get("value")
    if type(weight) is bool or not isinstance(weight, int | float) or not math.isfinite(weight):
        raise UserError(
            f"{where}.weight: must be a number or a schedule with a value (got {weight!r})"
        )
    _check_prefixes(loss.get("prefixes", ()), f"{where}.prefixes")
    if "embeddings" in loss and loss["embeddings"] not in HEAD_STAGES:
        raise UserError(
            f"{where}.embeddings: must be {' or '.join(HEAD_STAGES)} (got "
            f"{loss['embeddings']!r}); leave it out for the embeddings that are evaluated"
        )
    check_taken("losses", name, loss_arguments(loss), where)


def _check_prefixes(prefixes: Any, where: str) -> None:
    """Refuses prefixes that are not sizes."""
    sizes = prefixes if isinstance(prefixes, tuple) else (None,)
    if any(type(size) is not int or size < 1 for size in sizes):
        raise UserError(
            f"{where}: must be whole numbers from 1, such as (64, 32) (got {prefixes!r})"
        )
