"""Metrics, images/s and the wait for images of the last steps, and a bar that shows them."""

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from tqdm import tqdm

from darkrank_jax.distributed.processes import leads
from darkrank_jax.errors import UserError
from darkrank_jax.terminal import printable

# Share of the time that is spent waiting for images, above which a line reports it.
_MUCH_WAITING = 0.2

T = TypeVar("T")


class Meter:
    """The metrics of steps that were dispatched, and the time that they take.

    Attributes:
      seconds: of training so far; `resume` leaves out what happens between two readings.
    """

    def __init__(self, batch_size: int, seconds: float):
        self.seconds = seconds
        self._batch_size = batch_size
        self._pending: list[dict[str, Any]] = []
        # Seconds that each batch was waited for; whether the devices had nothing left to do then.
        self._waits: list[tuple[float, bool]] = []
        self._since = time.perf_counter()

    def timed(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches; measures how long each is waited for."""
        start = time.perf_counter()
        for batch in batches:
            last = self._pending[-1].values() if self._pending else ()
            idle = all(metric.is_ready() for metric in last)
            self._waits.append((time.perf_counter() - start, idle))
            yield batch
            start = time.perf_counter()

    def add(self, metrics: dict[str, Any]) -> None:
        """Takes the metrics of a step, which may not be computed yet."""
        self._pending.append(metrics)

    def read(self) -> tuple[list[dict[str, float]], dict[str, float]]:
        """Waits for the steps since the last reading.

        Returns:
          The metrics of each step, and "images_per_second" and "waiting_for_images" (a share of
          the time) over all of them.
        """
        dispatched = time.perf_counter()
        found = jax.device_get(self._pending)
        rows = [{name: float(value) for name, value in row.items()} for row in found]
        elapsed, last = (time.perf_counter() - start for start in (self._since, dispatched))
        self.seconds += elapsed
        speed = {
            "images_per_second": len(rows) * self._batch_size / elapsed,
            "waiting_for_images": waiting_share(self._waits, last, elapsed),
        }
        self._pending.clear()
        self._waits.clear()
        return rows, speed

    def resume(self) -> None:
        """Starts the clock again, after a validation or a save."""
        self._since = time.perf_counter()


def waiting_share(waits: list[tuple[float, bool]], last_step: float, elapsed: float) -> float:
    """The share of some steps' time for which the devices waited for images.

    Args:
      waits: seconds before each step; whether the devices were idle when its batch came.
      last_step: seconds of the last step, which stands for each where the devices were idle.
      elapsed: seconds of all steps.
    """
    waited, idle = sum(seconds for seconds, _ in waits), elapsed - len(waits) * last_step
    return max(0.0, min(waited, idle)) / elapsed if waits[-1][1] else 0.0


def mean_metrics(
    rows: list[dict[str, float]], step: int, workdir: Path, distilling: Collection[str]
) -> dict[str, float]:
    """Means of the metrics of some steps.

    Args:
      rows: the metrics of each step.
      step: number of the last one.
      workdir: of the run.
      distilling: names of the losses that compare with a teacher.

    Raises:
      UserError: a loss is NaN or infinite; names the losses and what to do.
    """
    for offset, row in enumerate(rows):
        wrong = [name for name, value in row.items() if not math.isfinite(value)]
        if wrong:
            named = [name.removeprefix("losses/") for name in wrong if name.startswith("losses/")]
            taught = named and {*named} <= {*distilling}
            first = "check the teacher with --mode eval, " if taught else ""
            raise UserError(
                f"step {step - len(rows) + offset + 1}: {', '.join(named or wrong)} is NaN or "
                f"infinite; {workdir} keeps the last good checkpoint; {first}lower learning_rate, "
                "or set clip_norm, and give another --workdir"
            )
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


@contextmanager
def progress_bar(
    name: str, step: int, steps: int, num_workers: int
) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """A bar with loss, images/s and time left; warns once when images come late.

    Args:
      name: of the network.
      step: that training starts from.
      steps: of the run.
      num_workers: of the run's data, for the warning.

    Yields:
      `report(steps, values)`: steps done since the last report, and their mean metrics.
    """
    late = False
    with tqdm(
        total=steps,
        initial=step,
        desc=printable(name),
        unit="step",
        dynamic_ncols=True,
        disable=not leads(),
    ) as bar:

        def report(done: int, values: dict[str, float]) -> None:
            nonlocal late
            # The first steps hold the compilation.
            first = bar.n == step
            bar.set_postfix_str(
                f"loss {values['loss']:.3f}, {values['images_per_second']:.0f} images/s",
                refresh=False,
            )
            bar.update(done)
            share = values["waiting_for_images"]
            if share > _MUCH_WAITING and not (first or late):
                late = True
                bar.write(
                    f"Images come late: {name} waits for them {share:.0%} of the time; where cores "
                    f"are free, raise data.num_workers ({num_workers})."
                )

        yield report
