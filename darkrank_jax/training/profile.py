"""A trace of some steps, for TensorBoard's profiler."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

# Steps before a trace begins: the first one compiles.
_WARM = 2


@contextmanager
def tracing(folder: Path, steps: int) -> Iterator[Callable[[Any], None]]:
    """Traces the steps that follow the first two.

    Args:
      folder: of TensorBoard's events; takes `plugins/profile`.
      steps: to trace, fewer where the run ends before; 0: none.

    Yields:
      `stepped(outputs)`, to be called after each step with what it gave.
    """
    done, running = 0, False

    def stepped(outputs: Any) -> None:
        nonlocal done, running
        done += 1
        if steps and done in (_WARM, _WARM + steps):
            # Steps run behind the program, which is ahead of them.
            jax.block_until_ready(outputs)
            running = done == _WARM
            if running:
                jax.profiler.start_trace(folder)
            else:
                jax.profiler.stop_trace()

    try:
        yield stepped
    finally:
        if running:
            jax.profiler.stop_trace()
