"""What the bar tells about the speed of the machine."""

import dataclasses

from darkrank_jax.training.loop import _progress
from darkrank_jax.training.run_config import read_run
from tests import tiny_config

VALUES = {"loss": 1.25, "images_per_second": 64.0}


def lines(capsys, minutes, reports):
    run = read_run(tiny_config.get_config().to_dict())
    run = dataclasses.replace(run, steps=100, expected_minutes=minutes)
    with _progress(run, "student", 0) as report:
        for steps, seconds in reports:
            report(steps, seconds, VALUES)
    return [line for line in capsys.readouterr().out.splitlines() if "slow" in line]


def test_a_slow_machine_is_told_once_and_not_by_its_compilation(capsys):
    # The first report holds the compilation; the others are 100 steps in 5 minutes.
    (line,) = lines(capsys, 2.0, [(2, 600.0), (2, 6.0), (2, 6.0)])
    assert line == (
        "This machine is slow: student takes about 5.0 minutes instead of 2.0, and the rest of "
        "the run in proportion."
    )


def test_a_machine_as_fast_as_expected_is_not_told(capsys):
    assert not lines(capsys, 4.0, [(2, 600.0), (2, 6.0), (2, 6.0)])
    assert not lines(capsys, 0.0, [(2, 600.0), (2, 600.0)])
