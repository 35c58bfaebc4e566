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

from darkrank_jax.distributed.processes import leads
from darkrank_jax.errors import UserError
from darkrank_jax.files import read_error, write_text, writing
from darkrank_jax.schema import check_schema

# Seconds between two times that events are brought to the disk, which waits for it.
_FLUSH = 10
_ADVICE = "delete the line (nothing but curves is drawn of it)"
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
    kept = [row for row in read_log(workdir) if row["step"] <= step]
    write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
    with writing(workdir):
        events = _open_events(workdir / "tensorboard", step + 1)
    flushed = time.monotonic()

    def write(step: int, values: dict[str, float]) -> None:
        nonlocal flushed
        with writing(workdir):
            # Not made again where somebody has deleted the workdir.
            with path.open("r+", encoding="utf-8") as rows:
                rows.seek(0, os.SEEK_END)
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

    Raises:
      UserError: another line is damaged.
    """
    path = workdir / "metrics.jsonl"
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise read_error(path, error, _ADVICE) from error
    return [_row(path, number, line) for number, line in enumerate(lines[:-1], 1)]


def _row(path: Path, number: int, line: bytes) -> dict[str, float]:
    """The values in a line of the log."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: line {number} is damaged; {_ADVICE}") from error
    advice = f"see line {number}; {_ADVICE}"
    check_schema(row, {str: float}, path, advice)
    check_schema(row, {"step": int}, path, advice)
    return row


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
