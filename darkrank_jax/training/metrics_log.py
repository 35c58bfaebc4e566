"""What a training run writes as it goes: metrics.jsonl and TensorBoard's events."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tensorboardX import SummaryWriter

from darkrank_jax.training.processes import leads


@contextmanager
def open_log(workdir: Path, step: int) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """Opens both logs behind a step; what an interrupted run wrote past it is dropped.

    Args:
      workdir: of the run.
      step: the last step whose rows stay.

    Yields:
      `write(step, values)`; of several processes the first one writes.
    """
    if not leads():
        yield lambda step, values: None
        return
    path = workdir / "metrics.jsonl"
    kept = [row for row in read_log(workdir) if row["step"] <= step]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept))
    with (
        path.open("a") as rows,
        SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1) as events,
    ):

        def write(step: int, values: dict[str, float]) -> None:
            rows.write(json.dumps({"step": step} | values) + "\n")
            rows.flush()
            for name, value in values.items():
                events.add_scalar(name, value, step)

        yield write


def read_log(workdir: Path) -> list[dict[str, float]]:
    """The rows of a workdir's metrics.jsonl; none where nothing has been trained yet.

    A last line that a killed process left half-written is dropped.
    """
    path = workdir / "metrics.jsonl"
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1]]
