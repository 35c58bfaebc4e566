"""Several processes as one run: how they meet, which of them writes, and what they agree on."""

import contextlib
import itertools
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

from darkrank_jax.errors import UserError

# Of the environment, for what no flag says.
_COORDINATOR, _PROCESSES, _PROCESS = (
    "JAX_COORDINATOR_ADDRESS",
    "JAX_NUM_PROCESSES",
    "JAX_PROCESS_ID",
)
# Seconds that a process waits for another, which may build a large source or write a long report.
# One that died is noticed long before, by its heartbeat.
_PATIENCE = 24 * 3600
_MEETINGS = itertools.count()
# Where the coordinator keeps the error that ends a process, and who has read of one.
_ERRORS, _READERS = "darkrank_jax_errors", "darkrank_jax_readers"
# Seconds between two looks at it; those that process 0 waits for the readers of an error, and then
# for their end: without the coordinator, which is in it, JAX would abort them.
_LOOK, _READING, _ENDING = 0.5, 5.0, 2.0
# Whether this process ends by an error of its own, which it prints itself.
_ending = threading.Event()


def join(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Makes this process one of several, before it touches a device; alone where nothing says so.

    Args:
      coordinator: HOST:PORT that process 0 listens on, the same in all; or "auto": a TPU pod,
        SLURM or Open MPI says so, and the other two arguments. None: as the environment's
        JAX_COORDINATOR_ADDRESS has it.
      processes: how many there are; None: JAX_NUM_PROCESSES.
      process: which of them this is, from 0; None: JAX_PROCESS_ID.

    Raises:
      UserError: the processes do not find each other, or one of the three is missing.
    """
    coordinator = coordinator or os.environ.get(_COORDINATOR)
    if not coordinator:
        flags = {"--processes": processes, "--process": process}
        if given := [flag for flag, number in flags.items() if number is not None]:
            raise UserError(
                f"{', '.join(given)}: must be given with --coordinator (got none); give "
                "--coordinator HOST:PORT of process 0, or auto"
            )
        return
    address = None if coordinator == "auto" else coordinator
    try:
        jax.distributed.initialize(
            address, _number(processes, _PROCESSES), _number(process, _PROCESS)
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"--coordinator: {coordinator}: {' '.join(str(error).split())}; give --coordinator "
            "HOST:PORT of process 0, --processes and --process to each, or auto on a cluster that "
            "JAX knows"
        ) from error
    sys.excepthook = fail
    # Devices open their connections at the first thing they do together, and do not wait long then.
    meet()
    agreed(0)
    if jax.distributed.is_initialized():
        threading.Thread(target=_listen, daemon=True).start()


def leave(code: int) -> NoReturn:
    """Ends this process.

    Args:
      code: its exit code. With 0 a process waits for the others, of which the first one may have a
        report to write; after an error for none, as JAX would: they may be waiting for it, and find
        it gone.
    """
    if jax.distributed.is_initialized():
        if code:
            _exit(code)
        meet()
        _ending.set()
    sys.exit(code)


def announce(line: str) -> None:
    """Tells the other processes of the error that ends this one; each ends with it in a line.

    Args:
      line: of the error.
    """
    if jax.distributed.is_initialized():
        _ending.set()
        client, own = multihost.get_jax_distributed_client(), jax.process_index()
        # Where process 0 is gone, there is nobody to tell.
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            client.key_value_set(f"{_ERRORS}/{own}", f"process {own} ended: {line}")
            _read(client, own)


def leads() -> bool:
    """Whether this is the process that prints and writes, or the only one."""
    return jax.process_index() == 0


@contextmanager
def lead_first() -> Iterator[None]:
    """The others begin where the first one has ended, be it by an error that they will have too."""
    if not leads():
        meet()
    try:
        yield
    finally:
        if leads():
            meet()


def agreed(number: int) -> int:
    """The largest of what the processes say; each must ask."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.int32(number)).max())


def fail(kind: Any, error: Any, trace: Any) -> None:
    """What an error that nobody expected ends in, such as that of a process that is gone."""
    traceback.print_exception(kind, error, trace)
    announce(" ".join(f"{kind.__name__}: {error}".split()))
    print(
        "error: this process ended by the above; where that is a lost connection, another one went "
        "first and says why. The same command, in all of them, goes on from the last checkpoint",
        file=sys.stderr,
    )
    leave(1)


def meet() -> None:
    """Waits for all processes, which is the coordinator's work: devices give up within a minute."""
    wait = multihost.get_barrier_sync_fn()
    wait(key=f"darkrank_jax_{next(_MEETINGS)}", timeout_ms=1000 * _PATIENCE)


def _listen() -> None:
    """Ends this process, whatever it waits for, once another one has announced an error."""
    client: Any = multihost.get_jax_distributed_client()
    own, said = jax.process_index(), []
    while not (said or _ending.wait(_LOOK)):
        # The coordinator is gone at the end of process 0.
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            said = client.key_value_dir_get(_ERRORS)
    if said and not _ending.is_set():
        print(f"error: {said[0][1]}", file=sys.stderr)
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            _read(client, own)
        _exit(2)


def _read(client: Any, own: int) -> None:
    """Says that this process knows of an error; process 0 lets the others read and end, too."""
    client.key_value_set(f"{_READERS}/{own}", "")
    if own:
        return
    end = time.monotonic() + _READING
    while len(client.key_value_dir_get(_READERS)) < jax.process_count() and time.monotonic() < end:
        time.sleep(_LOOK / 5)
    time.sleep(_ENDING)


def _exit(code: int) -> NoReturn:
    """Ends this process at once."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _number(given: int | None, variable: str) -> int | None:
    """A flag, or what the environment says in its place."""
    value = os.environ.get(variable) if given is None else given
    if value is None:
        return None
    try:
        return int(value)
    except ValueError as error:
        raise UserError(f"{variable}: must be a whole number (got {value!r})") from error
