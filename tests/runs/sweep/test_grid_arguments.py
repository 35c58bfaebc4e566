"""A sweep's grid and seeds are read from words."""

import pytest

from darkrank_jax.errors import UserError
from darkrank_jax.runs.sweep.grid_arguments import read_grid, read_seeds


def test_values_of_a_grid_are_words_of_a_shell():
    grid = ["steps 4 5", "losses \"{'kd': {}}\" {}"]
    assert read_grid(grid) == {"steps": ["4", "5"], "losses": ["{'kd': {}}", "{}"]}


@pytest.mark.parametrize(
    ("grid", "line"),
    [
        (["steps"], "--grid: steps has no values"),
        ([""], "--grid: must be a field and its values"),
        (["steps '4"], "--grid: must be a field and its values"),
        (["steps 4", "steps 5"], "--grid: steps is given twice"),
    ],
)
def test_a_grid_without_fields_and_values_is_refused(grid, line):
    with pytest.raises(UserError, match=f"^{line}"):
        read_grid(grid)


def test_seeds_are_whole_numbers_with_spaces_or_commas_between():
    assert read_seeds(" 5, 0 31") == [5, 0, 31]
    for words in ("", "1 -2", "1.5", "one"):
        with pytest.raises(UserError, match=r"^--seeds: must be whole numbers from 0 with spaces"):
            read_seeds(words)
