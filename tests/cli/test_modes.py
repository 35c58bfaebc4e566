"""Modes of the command and what each takes."""

import inspect
from typing import get_args

import pytest

from darkrank_jax.cli.modes import MODES, function_of
from tests.command import refusal


def test_flags_may_follow_the_runs_to_compare(capsys, tmp_path):
    said = refusal(capsys, "--mode=compare", tmp_path, tmp_path / "b", f"--workdir={tmp_path}")
    assert said.startswith(f"{tmp_path}: has no results.json")


@pytest.mark.parametrize("mode", MODES)
def test_the_table_of_modes_says_what_the_functions_take(mode):
    parameters = inspect.signature(function_of(mode)).parameters
    own = {n: p for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert [*own] == [flag.name for flag in MODES[mode].flags]
    for flag in MODES[mode].flags:
        parameter = own[flag.name]
        expected = parameter.empty if flag.default is None else flag.default
        assert (parameter.annotation, parameter.default) == (flag.kind, expected)
        assert flag.text
    first = {"runs": ["runs"], "workdir": [], "config": ["config", "fields"]}
    takes = first.get(MODES[mode].takes, ["run"])
    places = [n for n in parameters if n not in own]
    assert places[: len(takes) + 1] == [*takes, "workdir"]
    # What only a caller in Python gives, such as a hook.
    assert all(parameters[n].default is None for n in places[len(takes) + 1 :])
    optional = MODES[mode].takes == "run or workdir"
    assert optional == any(type(None) in get_args(parameters[n].annotation) for n in takes)
