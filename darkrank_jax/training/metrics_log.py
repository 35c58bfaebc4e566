"""What a training run writes as it goes: metrics.jsonl and TensorBoard's events."""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tensorboardX import summary
from tensorboardX.proto import event_pb2
from tensorboardX.record_writer import RecordWriter

from darkrank_jax.training.processes import leads
from darkrank_jax.training.workdir import replace_text, writing

# Seconds between two times that events are brought to the disk, which waits for it.
_FLUSH = 10
# Protobuf makes its classes when it is imported, which type checkers do not see.
_PROTO: Any = event_pb2


@contextmanager
def open_log(workdir: Path, step: int) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """Opens both logs behind a step; what an interrupted run wrote past it is dropped.

    Args:
      workdir: of the run.
      step: the last step whose rows stay.

    Yields:
      `write(step, values)`; of several processes the first one writes.

    Raises:
      UserError: a log cannot be written, also by `write`.
    """
    if not leads():
        yield lambda step, values: None
        return
    path = workdir / "metrics.jsonl"
    with writing(workdir):
        kept = [row for row in read_log(workdir) if row["step"] <= step]
        replace_text(path, "".join(json.dumps(row) + "\n" for row in kept))
        events = _open_events(workdir / "tensorboard", step + 1)
    flushed = time.monotonic()

    def write(step: int, values: dict[str, float]) -> None:
        nonlocal flushed
        with writing(workdir):
            with path.open("a") as rows:
                rows.write(json.dumps({"step": step} | values) + "\n")
            for name, value in values.items():
                _add(events, step=step, summary=summary.scalar(name, value))
            if time.monotonic() - flushed > _FLUSH:
                events.flush()
                flushed = time.monotonic()

    try:
        yield write
    finally:
        with writing(workdir):
            events.close()


def read_log(workdir: Path) -> list[dict[str, float]]:
    """The rows of a workdir's metrics.jsonl; none where nothing has been trained yet.

    A last line that a killed process left half-written is dropped.
    """
    path = workdir / "metrics.jsonl"
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1]]


def _open_events(folder: Path, purged: int) -> RecordWriter:
    """A file of TensorBoard's events, which hides what other files say of `purged` and later steps.

    Written by this thread: where it is one of its own that meets a full disk, as in tensorboardX's
    SummaryWriter, the run waits for it for ever.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
    events = RecordWriter(str(folder / name))
    _add(events, file_version="brain.Event:2")
    _add(events, step=purged, session_log=_PROTO.SessionLog(status=_PROTO.SessionLog.START))
    return events


def _add(events: RecordWriter, **fields: Any) -> None:
    """Writes one event, of now."""
    events.write(_PROTO.Event(wall_time=time.time(), **fields).SerializeToString())
