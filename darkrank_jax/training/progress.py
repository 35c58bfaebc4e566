"""Metrics, images/s and the wait for images of the last steps, and a bar or lines for them."""

import math
import sys
import time
from collections.abc import Collection, Iterable, Iterator
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
        # Of them, the first ones that the devices are known to have done.
        self._computed = 0
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

    def computed(self) -> int:
        """The number of steps since the last reading that the devices have done."""
        for metrics in self._pending[self._computed :]:
            if not all(metric.is_ready() for metric in metrics.values()):
                break
            self._computed += 1
        return self._computed

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
        self._computed = 0
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


class Progress:
    """A bar with loss, images/s and time left; where nothing draws a bar, a line at each report.

    Reports compilation, and once that images come late.
    """

    def __init__(self, bar: tqdm, name: str, step: int, steps: int, num_workers: int):
        self._bar = bar
        self._name = printable(name)
        self._first = step
        self._steps = steps
        self._num_workers = num_workers
        self._compiled: list[Any] = []
        self._since = time.perf_counter()
        self._reports = 0
        self._late = False

    @contextmanager
    def compiling(self, step: Any) -> Iterator[None]:
        """Says that a step's program is compiled, and how long that took, when it is first run."""
        if any(step is known for known in self._compiled):
            yield
            return
        self._compiled.append(step)
        start = time.perf_counter()
        self._say("compiling")
        yield
        seconds = time.perf_counter() - start
        # No step was done meanwhile, so that it is no part of a step's time.
        self._since += seconds
        self._bar.unpause()
        self._say(f"compiled in {seconds:.1f} s")

    def move(self, step: int) -> None:
        """Moves the bar to a step."""
        if not self._bar.disable:
            self._bar.update(step - self._bar.n)

    def report(self, step: int, values: dict[str, float]) -> None:
        """Shows the mean metrics of the steps since the last report.

        Args:
          step: number of the last one.
          values: "loss", "images_per_second" and "waiting_for_images" among them.
        """
        said = f"loss {values['loss']:.3f}, {values['images_per_second']:.0f} images/s"
        self.move(step)
        if self._bar.disable:
            each = (time.perf_counter() - self._since) / (step - self._first)
            left = tqdm.format_interval(each * (self._steps - step))
            said = f"step {step} of {self._steps}, {said}, {left} left"
        self._say(said)
        share = values["waiting_for_images"]
        # The first steps hold the compilation.
        if share > _MUCH_WAITING and self._reports and not self._late and leads():
            self._late = True
            self._bar.write(
                f"Images come late: {self._name} waits for them {share:.0%} of the time; where "
                f"cores are free, raise data.num_workers ({self._num_workers})."
            )
        self._reports += 1

    def _say(self, text: str) -> None:
        """Puts a text behind the bar, or prints a line."""
        if not self._bar.disable:
            self._bar.set_postfix_str(text)
        elif leads():
            print(f"{self._name}: {text}", file=sys.stderr, flush=True)


@contextmanager
def show_progress(name: str, step: int, steps: int, num_workers: int) -> Iterator[Progress]:
    """Shows how far a network's training is, in the first process.

    Args:
      name: of the network.
      step: that training starts from.
      steps: of the run.
      num_workers: of the run's data, for a warning.

    Yields:
      The progress, on a bar in a terminal or a notebook, and else in lines; all on stderr.
    """
    with tqdm(
        total=steps,
        initial=step,
        desc=printable(name),
        unit="step",
        dynamic_ncols=True,
        disable=not (leads() and draws_bars(sys.stderr)),
    ) as bar:
        yield Progress(bar, name, step, steps, num_workers)


def draws_bars(stream: Any) -> bool:
    """Whether a stream shows a line that is written again and again as one: not a file or a pipe.

    Args:
      stream: such as sys.stderr; that of a notebook is no terminal, but draws bars.
    """
    return stream.isatty() or type(stream).__module__.partition(".")[0] == "ipykernel"
