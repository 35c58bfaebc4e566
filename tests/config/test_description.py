"""A run written as plain values, and read back from JSON."""

import dataclasses
import json
from pathlib import Path

import pytest

from darkrank_jax.config.description import (
    check_description,
    describe,
    read_description,
    without_removed,
)
from darkrank_jax.config.reader import read_run
from darkrank_jax.errors import UserError
from tests import tiny_config


@pytest.fixture
def run():
    return read_run(tiny_config.get_config().to_dict())


def through_json(run):
    return json.loads(json.dumps(describe(run)))


def test_a_run_comes_back_from_json_without_what_trained_it(run):
    described = through_json(run)
    check_description(described, Path("run.json"), "train again")
    found = read_description(described, "here")
    assert (found.teacher, found.baseline) == (None, {})
    alone = dataclasses.replace(run, teacher=None, baseline={}, evaluation=found.evaluation)
    assert found == alone


def test_what_is_measured_afterwards_is_not_of_what_was_trained(run):
    assert {"evaluation", "hook"}.isdisjoint(describe(run))
    assert describe(run)["teacher"] == describe(run.teacher)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"steps": "3"}, r"run\.steps: must be int \(got '3' \(str\)\)"),
        ({"losses": {"triplet": 1}}, r"run\.losses\.triplet: must be dict \(got 1 \(int\)\)"),
        (
            {"model": {"name": "resnet10"}},
            r"run\.model\.embedding_dim: must be int \(got nothing\)",
        ),
        ({"teacher": 3}, r"run\.teacher: must be dict or None \(got 3 \(int\)\)"),
    ],
)
def test_a_field_of_another_type_is_named_with_its_file(change, line, run):
    with pytest.raises(UserError, match=rf"^run\.json: {line}.*; train again$"):
        check_description(through_json(run) | change, Path("run.json"), "train again")


def test_a_description_of_another_version_or_altered_is_refused(run):
    described = through_json(run)
    with pytest.raises(UserError, match=r"^here: was trained by another version \('data'\)"):
        read_description({n: v for n, v in described.items() if n != "data"}, "here")
    with pytest.raises(UserError, match=r"^here: run\.json is altered \(run\.ema_decay: "):
        read_description(described | {"ema_decay": 1.5}, "here")


def test_removed_fields_that_changed_nothing_are_left_out_everywhere():
    old = {"steps": 1, "expected_minutes": 3.0, "chunk_losses": False}
    kept = {"steps": 1, "chunk_losses": True}
    described = old | {"teacher": old, "ensemble": {"a": old, "b": kept}}
    assert without_removed(described) == {
        "steps": 1,
        "teacher": {"steps": 1},
        "ensemble": {"a": {"steps": 1}, "b": kept},
    }
