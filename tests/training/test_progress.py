"""What the bar tells about the speed of the machine and of its images."""

from types import SimpleNamespace

import pytest

from darkrank_jax.training import progress
from darkrank_jax.training.progress import progress_bar

VALUES = {"loss": 1.25, "images_per_second": 64.0, "waiting_for_images": 0.0}


def lines(capsys, reports, share):
    with progress_bar("student", 0, 100, num_workers=3) as report:
        for steps in reports:
            report(steps, VALUES | {"waiting_for_images": share})
    return [line for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_the_name_on_the_bar_is_escaped(capsys):
    with progress_bar("student's \x1b]0;title\x07", 0, 100, 0) as report:
        report(2, VALUES)
    said = capsys.readouterr().err
    assert r"student's \x1b]0;title\x07" in said
    assert not {"\x1b", "\x07"} & set(said)


def test_late_images_are_reported_once_and_not_after_the_first_steps(capsys):
    (line,) = lines(capsys, [2, 2, 2], share=0.476)
    assert line == (
        "Images come late: student waits for them 48% of the time; where cores are free, raise "
        "data.num_workers (3)."
    )
    assert not lines(capsys, [2], share=0.476)
    assert not lines(capsys, [2, 2], share=0.19)


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
