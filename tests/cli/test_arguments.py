"""Flags are found among other arguments, and fields of the config are counted."""

import pytest

from darkrank_jax.cli.arguments import check_fields_once, find_flags, read_flag
from darkrank_jax.cli.modes import Flag
from darkrank_jax.errors import UserError

KNOWN = {
    "devices": Flag("devices", 0, "how many", int, 0),
    "append": Flag("append", False, "whether", bool),
    "grid": Flag("grid", (), "values", tuple),
}


@pytest.mark.parametrize(
    ("arguments", "given", "rest"),
    [
        (["a", "--devices=3", "b"], {"devices": ["3"]}, ["a", "b"]),
        (["--devices", "-1", "b"], {"devices": ["-1"]}, ["b"]),
        (["-devices=", "--devices", "2"], {"devices": ["", "2"]}, []),
        (["--append", "a"], {"append": ["true"]}, ["a"]),
        (["--grid", "x 1", "--grid=y=2"], {"grid": ["x 1", "y=2"]}, []),
        # A field of the config may have its value beside it.
        (["--config.a", "-3", "--other=1"], {}, ["--config.a", "-3", "--other=1"]),
    ],
)
def test_flags_are_found_and_the_rest_keeps_its_order(arguments, given, rest):
    assert find_flags(arguments, KNOWN) == (given, rest)


@pytest.mark.parametrize(
    ("name", "texts", "value"),
    [
        ("devices", ["007"], 7),
        ("append", ["False"], False),
        ("append", ["1"], True),
        ("grid", ["x 1", "x 1"], ("x 1", "x 1")),
    ],
)
def test_a_flag_has_a_value_of_its_type(name, texts, value):
    found = read_flag(KNOWN[name], texts)
    assert (type(found), found) == (type(value), value)


def test_a_field_may_be_stated_beside_those_that_it_holds_but_only_once():
    check_fields_once(["--config.losses={}", "--config.losses.kd.weight", "2", "--config.remat"])
    with pytest.raises(
        UserError, match=r"^--config\.remat: must be given once \(got true, false\)"
    ):
        check_fields_once(["--config.remat", "--noconfig.remat", "--config.seed=1"])
    with pytest.raises(UserError, match=r"^--config\.seed: must be given once \(got 1, 1\); leave"):
        check_fields_once(["--config.seed=1", "runs/a", "-config.seed", "1"])
