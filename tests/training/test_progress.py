"""What the bar tells about the speed of the machine and of its images."""

import functools
import io
import sys
from types import SimpleNamespace

import pytest

from darkrank_jax.training import progress
from darkrank_jax.training.progress import draws_bars, show_progress

VALUES = {"loss": 1.25, "images_per_second": 64.0, "waiting_for_images": 0.0}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still, unless it is set."""
    clock = SimpleNamespace(now=5.0)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: clock.now)
    return clock


def lines(capsys, reports, share):
    with show_progress("student", 0, 100, num_workers=3) as shown:
        for step in reports:
            shown.report(step, VALUES | {"waiting_for_images": share})
    return [line for line in capsys.readouterr().out.splitlines() if line.strip()]


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_the_name_on_the_bar_and_in_lines_is_escaped(stream, monkeypatch):
    said = stream()
    monkeypatch.setattr(sys, "stderr", said)
    with show_progress("student's \x1b]0;title\x07", 0, 100, 0) as shown:
        shown.report(2, VALUES)
    assert r"student's \x1b]0;title\x07" in said.getvalue()
    assert "\x07" not in said.getvalue()
    assert "\x1b]" not in said.getvalue()


def test_late_images_are_reported_once_and_not_after_the_first_steps(capsys):
    (line,) = lines(capsys, [2, 4, 6], share=0.476)
    assert line == (
        "Images come late: student waits for them 48% of the time; where cores are free, raise "
        "data.num_workers (3)."
    )
    assert not lines(capsys, [2], share=0.476)
    assert not lines(capsys, [2, 4], share=0.19)


def test_a_log_has_a_line_for_each_report_with_the_time_left(capsys, clock):
    step = object()
    with show_progress("student", 10, 110, num_workers=0) as shown:
        with shown.compiling(step):
            clock.now += 30.0
        for number in range(11, 31):
            with shown.compiling(step):
                clock.now += 0.5
            shown.move(number)
        shown.report(30, VALUES)
    # 20 steps took 10 s, so that 80 take 40.
    assert capsys.readouterr().err.splitlines() == [
        "student: compiling",
        "student: compiled in 30.0 s",
        "student: step 30 of 110, loss 1.250, 64 images/s, 00:40 left",
    ]


def test_every_program_is_compiled_once(capsys):
    first, second = [], []
    with show_progress("student", 0, 4, num_workers=0) as shown:
        for step in (first, first, second, second):
            with shown.compiling(step):
                pass
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == [
        "compiling", "compiled", "compiling", "compiled"
    ]  # fmt: skip


def test_a_bar_is_one_line_that_says_compiling_and_moves_every_step(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "tqdm", functools.partial(progress.tqdm, mininterval=0.0))
    with show_progress("student", 0, 4, num_workers=0) as shown:
        with shown.compiling(object()):
            pass
        for step in (1, 2, 3):
            shown.move(step)
        shown.report(3, VALUES)
    said = terminal.getvalue()
    drawn = said.replace("\x1b[A", "").split("\r")
    # Whatever is drawn begins where the last one did.
    assert said.count("\n") == 1
    assert said.endswith("\n")
    assert any("0/4" in line and "compiling" in line for line in drawn)
    assert any("compiled in 0.0 s" in line for line in drawn)
    for step in (1, 2, 3):
        assert any(f"| {step}/4 [" in line for line in drawn), step
    assert "loss 1.250, 64 images/s" in drawn[-1]


def test_bars_are_for_terminals_and_notebooks(monkeypatch):
    stream = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})
    assert draws_bars(stream())
    assert draws_bars(Terminal())
    assert not draws_bars(io.StringIO())


def test_other_processes_show_nothing(capsys, monkeypatch):
    monkeypatch.setattr(progress, "leads", lambda: False)
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        with show_progress("student", 0, 4, num_workers=0) as shown:
            with shown.compiling(object()):
                pass
            for step in (2, 4):
                shown.report(step, VALUES | {"waiting_for_images": 0.9})
        assert stream.getvalue() == ""
    assert capsys.readouterr().out == ""


def test_meter_counts_the_steps_that_are_computed_in_their_order(monkeypatch):
    monkeypatch.setattr(progress.jax, "device_get", lambda rows: [{"loss": 1.0} for _ in rows])
    ready, meter = [False, False, False], progress.Meter(batch_size=8, seconds=0.0)
    for number in meter.timed(range(3)):
        meter.add({"loss": SimpleNamespace(is_ready=lambda number=number: ready[number])})
    found = [meter.computed()]
    for number in (1, 0, 2):
        ready[number] = True
        found.append(meter.computed())
    assert found == [0, 0, 2, 3]
    meter.read()
    assert meter.computed() == 0


def test_meter_divides_images_and_waits_by_the_time_between_readings(monkeypatch):
    now, done = 5.0, False

    def batches():
        nonlocal now, done
        for number in range(3):
            now, done = now + 0.5 * number, number == 2
            yield number

    monkeypatch.setattr(progress.time, "perf_counter", lambda: now)
    loss = SimpleNamespace(is_ready=lambda: done)
    monkeypatch.setattr(progress.jax, "device_get", lambda rows: [{"loss": 1.0} for _ in rows])
    meter, found = progress.Meter(batch_size=8, seconds=100.0), []
    for number in meter.timed(batches()):
        found.append(number)
        now += 7.0
        meter.add({"loss": loss})
    assert found == [0, 1, 2]
    # Waits of 0, .5 and 1 s before steps of 7 s; the devices were idle before the last one.
    rows, speed = meter.read()
    assert len(rows) == 3
    assert meter.seconds == 122.5
    assert speed["images_per_second"] == pytest.approx(24 / 22.5)
    assert speed["waiting_for_images"] == pytest.approx(1.5 / 22.5)


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
    assert progress.waiting_share(noted, last_step, 10.0) == 0.0
    noted[-1] = (waits[-1], True)
    assert progress.waiting_share(noted, last_step, 10.0) == pytest.approx(expected)
