"""Ctrl-C and SIGTERM: let the step in hand end, save, leave."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Interrupted(Exception):
    """A run was asked to stop and has saved; `signal` is the number that asked."""

    def __init__(self, line: str, signal_number: int):
        super().__init__(line)
        self.signal = signal_number


@contextmanager
def catch_signals() -> Iterator[Callable[[], int]]:
    """Holds back SIGINT and SIGTERM while a network trains.

    Yields:
      `requested()`: the number of the signal that came, or 0. A second Ctrl-C acts at once.
    """
    received = 0

    def handle(number: int, frame: object) -> None:
        nonlocal received
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received = number

    previous = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
