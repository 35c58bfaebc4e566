"""Processes that make batches ahead, since threads of Python wait for each other's lock.

A worker is a program of its own that knows its parent by a connection, so nothing of the parent is
copied or imported again, and it ends when the parent is gone, and what that has forked.
"""

import itertools
import logging
import math
import os
import pickle
import signal
import subprocess
import sys
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np

from darkrank_jax.data.loading.shared_memory import SharedMemory
from darkrank_jax.errors import UserError
from darkrank_jax.files import read_advice
from darkrank_jax.import_path import current_folder_last

# Batches that a worker is asked for ahead, and those that the consumer may hold without a copy.
_AHEAD, _HELD = 2, 4
_PAGE = 4096
# Has glibc keep what a picture took for the next one; the system would clear it again each time.
_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**28)}

# Seconds without an answer after which a worker is named; and between looks at `stopping`.
_PATIENCE, _LOOKS = 60, 1

T = TypeVar("T")


class _Worker(NamedTuple):
    """A process that makes batches."""

    connection: Connection
    pid: int


def made_by_workers(
    make: Callable[[int, np.ndarray], T],
    shape: tuple[int, ...],
    steps: Sequence[int],
    num_workers: int,
    memory: SharedMemory,
    stopping: Callable[[], int] = lambda: 0,
) -> Generator[tuple[T, np.ndarray]]:
    """What `make` gives for each step, in order, made ahead by several processes.

    Args:
      make: takes a step and the images to fill, uint8 of the shape; what else it has of the step is
        returned. It is pickled, arrays in shared memory as such.
      shape: of the images of a step.
      steps: in the order in which they are wanted.
      num_workers: processes; they end when the iterator is closed, exhausted or meets an error.
      memory: what arrays of `make` lie in.
      stopping: whether to end early, rather than to wait for a process that is stopped or stuck.

    Yields:
      What `make` returned, and the images; they stay as they are for as long as they are kept.

    Raises:
      UserError: `make` raised it, cannot be pickled, or a process was ended from outside.
    """
    num_workers, rest = min(num_workers, len(steps)), iter(steps)
    num_slots, num_bytes = _AHEAD * num_workers + _HELD, math.prod(shape)
    slots = memory.array((num_slots, -(-num_bytes // _PAGE) * _PAGE), np.uint8)
    setup = _pickled((make, shape, slots))
    free, asked = deque(range(num_slots)), deque()
    with ExitStack() as stack:
        workers = [stack.enter_context(_started(memory)) for _ in range(num_workers)]
        for worker in workers:
            if not _answers(worker, stopping):
                return
            own = worker.connection
            _talk(own.recv, wrong="could not be started; what it said stands above")
            _talk(own.send_bytes, setup)

        def ask(worker: _Worker) -> None:
            for step in itertools.islice(rest, 1):
                asked.append((worker, free.popleft()))
                _talk(worker.connection.send, (step, asked[-1][1]))

        for _ in range(_AHEAD):
            for worker in workers:
                ask(worker)
        while asked:
            worker, slot = asked.popleft()
            if not _answers(worker, stopping):
                return
            error, made = _talk(worker.connection.recv)
            if error:
                raise error
            # Of the map itself: views of a part of an array refer to that array, not to the part.
            images = np.ndarray(shape, np.uint8, slots.array.base, slot * slots.array.strides[0])
            if free:
                weakref.finalize(images, free.append, slot).atexit = False
            else:
                images = images.copy()
                free.append(slot)
            ask(worker)
            yield made, images


def work(descriptor: int) -> None:
    """What a worker does: answers its parent until that is gone.

    Args:
      descriptor: of the connection.
    """
    # OpenCV's own threads would be as many again for each process.
    cv2.setNumThreads(0)
    with Connection(descriptor) as parent:
        try:
            parent.send("ready")
            setup = _attempt(_unpickled, parent.recv_bytes())
            while True:
                step, slot = parent.recv()
                parent.send(_answer(setup, step, slot))
        except (EOFError, ConnectionError):
            return


def _answer(setup: tuple[Any, Any], step: int, slot: int) -> tuple[Any, Any]:
    """The error of a step or None, and what was made."""
    error, made = setup
    if error:
        return setup
    make, shape, slots = made
    return _attempt(make, step, np.ndarray(shape, np.uint8, slots[slot].data))


def _attempt(function: Callable[..., Any], *arguments: Any) -> tuple[Exception | None, Any]:
    """An error that can be sent, or None; and the result."""
    try:
        return None, function(*arguments)
    except UserError as error:
        return error, None
    except Exception:
        # Nobody knows whether it can be pickled, but for what it says.
        return RuntimeError(f"in a process that makes batches:\n{traceback.format_exc()}"), None


def _answers(worker: _Worker, stopping: Callable[[], int]) -> bool:
    """Waits until a worker has answered or ended; False if the wait is to end before.

    Signals are handled meanwhile.
    """
    waited = 0
    while not worker.connection.poll(_LOOKS):
        if stopping():
            return False
        waited += _LOOKS
        if waited == _PATIENCE:
            line = (
                "data.num_workers: process %d, which makes batches, has not answered for %d s; if "
                "it was stopped, kill -CONT %d lets it go on; else look for a slow or lost disk"
            )
            logging.getLogger(__name__).warning(line, worker.pid, waited, worker.pid)
    return True


@contextmanager
def _started(memory: SharedMemory) -> Iterator[_Worker]:
    """A new worker, which has nothing to lose at the end."""
    try:
        own, given = Pipe()
        with given, _signals_left_to_parent():
            descriptors = (given.fileno(), *memory.descriptors)
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _program(given.fileno())],
                pass_fds=descriptors,
                env=_MEMORY | os.environ,
            )
    except OSError as error:
        raise UserError(
            f"data.num_workers: a process that makes batches cannot be started ({error}); "
            f"{read_advice(error, 'give fewer, or 0')}"
        ) from error
    with own:
        try:
            yield _Worker(own, process.pid)
        finally:
            process.kill()
            process.wait()


def _program(descriptor: int) -> str:
    """What a worker runs, which finds modules where this process does."""
    here = str(Path(__file__).parents[3])
    # Others than strings are no folders to Python either.
    folders = [os.path.abspath(folder) for folder in sys.path if isinstance(folder, str)]
    return (
        f"import sys; sys.path[:] = {[*folders, here]!r}; "
        f"from darkrank_jax.data.loading.workers import work; work({descriptor})"
    )


@contextmanager
def _signals_left_to_parent() -> Iterator[None]:
    """Processes that are started meanwhile never get what Ctrl-C sends to all."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _talk(
    exchange: Callable[..., Any],
    *message: Any,
    wrong: str = "was ended from outside, perhaps since memory is short; give fewer, or a smaller "
    "data.options.cache_mib",
) -> Any:
    """Sends or receives; refuses to go on when the other is gone."""
    try:
        return exchange(*message)
    except (EOFError, ConnectionError) as error:
        raise UserError(f"data.num_workers: a process that makes batches {wrong}") from error


def _pickled(setup: Any) -> bytes:
    try:
        return pickle.dumps(setup)
    except Exception as error:
        # Objects raise what they like when they cannot be sent.
        raise _not_sent(error) from error


def _unpickled(setup: bytes) -> Any:
    """What the parent has sent, which started this process; nobody else can."""
    try:
        # As a config file may have imported a source that lies here.
        with current_folder_last():
            return pickle.loads(setup)
    except (AttributeError, ImportError) as error:
        raise _not_sent(error) from error


def _not_sent(error: Exception) -> UserError:
    return UserError(
        f"data.num_workers: the source cannot be sent to other processes ({error}); put its "
        "functions at the top of a module that can be imported, or set this to 0"
    )
