"""What the bar tells about the speed of the machine and of its images."""

import dataclasses
from types import SimpleNamespace

import pytest

from darkrank_jax.config.reader import read_run
from darkrank_jax.training import loop
from tests import tiny_config

VALUES = {"loss": 1.25, "images_per_second": 64.0, "waiting_for_images": 0.0}


def lines(capsys, minutes, reports, share=0.0):
    run = read_run(tiny_config.get_config().to_dict())
    run = dataclasses.replace(run, steps=100, expected_minutes=minutes)
    with loop._progress(run, "student", 0) as report:
        for steps, seconds in reports:
            report(steps, seconds, VALUES | {"waiting_for_images": share})
    return [line for line in capsys.readouterr().out.splitlines() if line.strip()]


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


def test_the_name_on_the_bar_is_escaped(capsys):
    run = read_run(tiny_config.get_config().to_dict())
    with loop._progress(run, "student's \x1b]0;title\x07", 0) as report:
        report(2, 1.0, VALUES)
    said = capsys.readouterr().err
    assert r"student's \x1b]0;title\x07" in said
    assert not {"\x1b", "\x07"} & set(said)


def test_images_that_come_late_are_told_once(capsys):
    (line,) = lines(capsys, 0.0, [(2, 60.0), (2, 6.0), (2, 6.0)], share=0.476)
    assert line == (
        "Images come late: student waits for them 48% of the time; where cores are free, raise "
        "data.num_workers (0)."
    )
    assert not lines(capsys, 0.0, [(2, 60.0)], share=0.476)
    assert not lines(capsys, 0.0, [(2, 60.0), (2, 6.0)], share=0.19)


def test_each_wait_is_noted_with_what_was_left_to_do(monkeypatch):
    """Before the first batch there is no step that could be left."""
    now, done, pending = 5.0, False, []

    def late():
        nonlocal now, done
        for number in range(3):
            now, done = now + 0.5 * number, number == 2
            yield number

    monkeypatch.setattr(loop.time, "perf_counter", lambda: now)
    step = {"loss": SimpleNamespace(is_ready=lambda: done)}
    waits, found = [], []
    for number in loop._noting(late(), pending, waits):
        found.append(number)
        now += 7.0
        pending.append(step)
    assert found == [0, 1, 2]
    assert waits == [(0.0, True), (0.5, False), (1.0, True)]


@pytest.mark.parametrize(
    ("waits", "last_step", "expected"),
    [
        # Ten seconds for four steps of 1.5 each.
        ([2.0, 0.9, 0.9, 0.9], 1.5, 0.4),
        # The rest is the host's, which calls the steps.
        ([0.5, 0.2, 0.2, 0.2], 1.5, 0.11),
        # The devices were never late.
        ([2.0, 0.9, 0.9, 0.9], 2.6, 0.0),
    ],
)
def test_devices_wait_for_no_longer_than_they_do_nothing(waits, last_step, expected):
    noted = [(seconds, False) for seconds in waits]
    assert loop._waiting(noted, last_step, 10.0) == 0.0
    noted[-1] = (waits[-1], True)
    assert loop._waiting(noted, last_step, 10.0) == pytest.approx(expected)
