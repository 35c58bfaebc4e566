"""A sweep's grid and seeds as a command line has them, read without anything slow to import."""

import shlex
from collections.abc import Iterable

from darkrank_jax.errors import UserError


def read_grid(grid: Iterable[str]) -> dict[str, list[str]]:
    """The fields of a grid and their values.

    Args:
      grid: a field and its values in each, as words of a shell.

    Raises:
      UserError: a field has no values, or is given twice.

    Example:
      >>> read_grid(["learning_rate 1e-3 4e-3"])
      {'learning_rate': ['1e-3', '4e-3']}
    """
    settings: dict[str, list[str]] = {}
    for words in grid:
        field, values = _values(words)
        if field in settings:
            raise UserError(f"--grid: {field} is given twice; give all of its values at once")
        settings[field] = values
    return settings


def _values(words: str) -> tuple[str, list[str]]:
    """A field of the grid and its values."""
    wanted = '--grid: must be a field and its values, such as "learning_rate 1e-3 4e-3"'
    try:
        field, *values = shlex.split(words)
    except ValueError as error:
        raise UserError(f"{wanted} (got {words!r})") from error
    if not values:
        raise UserError(f'--grid: {field} has no values; give --grid "{field} VALUE VALUE"')
    return field, values


def read_seeds(words: str) -> list[int]:
    """Seeds that stand in one text.

    Args:
      words: whole numbers with spaces or commas between.

    Raises:
      UserError: there is none, or one is not a whole number.

    Example:
      >>> read_seeds("0 1 2")
      [0, 1, 2]
    """
    seeds = words.replace(",", " ").split()
    if not seeds or not all(seed.isdecimal() for seed in seeds):
        raise UserError(
            f"--seeds: must be whole numbers from 0 with spaces between (got {words!r}); give "
            '--seeds="0 1 2"'
        )
    return [*map(int, seeds)]
