import errno
import itertools
import resource
import signal
import struct
from contextlib import contextmanager

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from darkrank_jax import files
from darkrank_jax.errors import UserError
from darkrank_jax.workdir.metrics_log import open_log, read_log


def test_rows_past_the_resumed_step_are_dropped(tmp_path):
    with open_log(tmp_path, 0) as write:
        for step in (10, 20, 30):
            write(step, {"loss": step / 8})
    with open_log(tmp_path, 20) as write:
        write(30, {"loss": 7.5, "validation/recall_at_1": 0.25})
    assert read_log(tmp_path) == [
        {"step": 10, "loss": 1.25},
        {"step": 20, "loss": 2.5},
        {"step": 30, "loss": 7.5, "validation/recall_at_1": 0.25},
    ]


def test_a_half_written_last_row_is_dropped(tmp_path):
    with open_log(tmp_path, 0) as write:
        write(10, {"loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as rows:
        rows.write('{"step": 20, "lo')
    assert read_log(tmp_path) == [{"step": 10, "loss": 1.0}]


def test_nothing_trained_has_no_rows(tmp_path):
    assert read_log(tmp_path) == []


def test_tensorboard_gets_its_events(tmp_path):
    with open_log(tmp_path, 6) as write:
        write(10, {"loss": 0.75, "validation/recall_at_1": 0.5})
    (file,) = (tmp_path / "tensorboard").iterdir()
    version, start, *scalars = events(file.read_bytes())
    assert version.file_version == "brain.Event:2"
    # What an interrupted run wrote of step 7 and later is hidden.
    assert (start.step, start.session_log.status) == (7, SessionLog.START)
    found = [(e.step, e.summary.value[0].tag, e.summary.value[0].simple_value) for e in scalars]
    assert found == [(10, "loss", 0.75), (10, "validation/recall_at_1", 0.5)]


def events(data):
    """The events of a file: length, its checksum, event, its checksum."""
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


@contextmanager
def full_disk():
    """Files cannot grow past 64 KiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def row(step):
    return {"step": step, "loss": step / 8, "images_per_second": 100.0 * step}


def log_without_end(workdir, written):
    with open_log(workdir, 0) as write:
        for step in itertools.count():
            write(step, {name: value for name, value in row(step).items() if name != "step"})
            written.append(row(step))


def test_a_full_disk_ends_the_log_in_a_line(tmp_path):
    written = []
    with full_disk(), pytest.raises(UserError) as refusal:
        log_without_end(tmp_path, written)
    line = f"{tmp_path}: cannot be written (File too large); choose another place"
    assert str(refusal.value) == line
    assert len(written) > 9
    assert read_log(tmp_path)[: len(written)] == written


def test_what_was_logged_outlives_a_start_on_a_full_disk(tmp_path, monkeypatch):
    with open_log(tmp_path, 0) as write:
        write(10, {"loss": 0.5})
        write(20, {"loss": 0.25})

    def replace(beside, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "replace", replace)
    with pytest.raises(UserError, match="No space left"), open_log(tmp_path, 10):
        pass
    assert [row["step"] for row in read_log(tmp_path)] == [10, 20]
