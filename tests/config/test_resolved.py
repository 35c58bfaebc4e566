"""The config that a command line comes to."""

import pytest

from darkrank_jax.config.resolved import digest_of, flags_of, resolve, teacher_fields
from darkrank_jax.errors import UserError

CONFIG = "tests/tiny_config.py"


def test_fields_change_the_config_of_the_file_and_nothing_else():
    plain = resolve(CONFIG, {})
    changed = resolve(CONFIG, {"steps": 3, "teacher.seed": 5, "baseline": {}})
    expected = plain | {"steps": 3, "baseline": {}, "teacher": plain["teacher"] | {"seed": 5}}
    assert changed == expected
    with pytest.raises(UserError, match="no field 'stpes' in the config; did you mean 'steps'"):
        resolve(CONFIG, {"stpes": 3})


def test_the_fields_of_a_teacher_make_its_own_run_of_the_students_file():
    student = resolve(CONFIG, {"teacher.seed": 7, "steps": 3})
    fields = teacher_fields(CONFIG, student)
    alone = resolve(CONFIG, fields)
    beside = ("baseline", "teacher", "evaluation", "hook")
    for name, value in student["teacher"].items():
        if name not in beside:
            assert alone[name] == value, name
    assert (alone["teacher"], alone["baseline"]) == (student["teacher"]["teacher"], {})
    assert fields["seed"] == 7
    # The student's own fields are not the teacher's.
    assert alone["steps"] == student["teacher"]["steps"] != 3


def test_the_run_of_a_teacher_has_the_hook_of_the_students():
    student = resolve(CONFIG, {"hook": "trackers.Mine"})
    assert resolve(CONFIG, teacher_fields(CONFIG, student))["hook"] == "trackers.Mine"
    assert "hook" not in teacher_fields(CONFIG, resolve(CONFIG, {}))


def test_the_digest_follows_every_value_and_no_order():
    assert digest_of({"a": 1, "b": {"c": 2}}) == digest_of({"b": {"c": 2}, "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})
    assert flags_of({"a.b": "(1, 2)"}) == ["--config.a.b=(1, 2)"]
