"""Modes of the command and what each takes."""

import inspect
from typing import get_args

import pytest

from darkrank_jax.cli.modes import MODES, all_flags, function_of
from darkrank_jax.export.formats import FORMATS
from darkrank_jax.inference.approximate import KINDS
from darkrank_jax.inference.gallery import ENDINGS
from darkrank_jax.inference.near_tables import SUFFIXES
from darkrank_jax.runs.accelerators import ACCELERATORS
from tests.command import refusal


def test_flags_may_follow_the_runs_to_compare(capsys, tmp_path):
    said = refusal(capsys, "--mode=compare", tmp_path, tmp_path / "b", f"--workdir={tmp_path}/out")
    assert said.startswith(f"{tmp_path}: has no results.json")
    assert not (tmp_path / "out").exists()


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


def test_the_table_of_modes_has_the_names_and_endings_that_the_functions_take():
    flags = all_flags()
    assert flags["accelerator"].names == tuple(ACCELERATORS)
    assert flags["formats"].names == tuple(FORMATS)
    assert flags["index"].names == tuple(KINDS)
    endings = {(mode, flag.name): flag.endings for mode in MODES for flag in MODES[mode].flags}
    assert {place: each for place, each in endings.items() if each} == {
        ("embed", "output"): ENDINGS,
        ("search", "gallery"): ENDINGS,
        ("search", "output"): (".html", *SUFFIXES),
    }
