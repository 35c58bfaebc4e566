"""Configs, training, evaluation and comparison from Python, as the command line has them."""

import dataclasses
import html
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from darkrank_jax.config.reader import read_run
from darkrank_jax.config.run import Run
from darkrank_jax.data import Split
from darkrank_jax.errors import UserError, nearest
from darkrank_jax.export.command import export_run
from darkrank_jax.inference.load import LoadedRun, load_run
from darkrank_jax.runs.compare import compare_and_report
from darkrank_jax.runs.evaluate import evaluate_and_report
from darkrank_jax.runs.outside import write_embeddings
from darkrank_jax.runs.results import read_results, table
from darkrank_jax.runs.roles import roles_of
from darkrank_jax.runs.splits import Splits
from darkrank_jax.runs.train import train_and_report
from darkrank_jax.terminal import printable
from darkrank_jax.training.hooks import Hook
from darkrank_jax.workdir.recorded import whole_run

# Pixels of a report within a notebook.
_HEIGHT = 720


@dataclasses.dataclass(frozen=True)
class Results:
    """The results of a finished run; a notebook shows its report.

    Attributes:
      workdir: of the run.
      folder: that holds results.json and report.html: the workdir, or "evaluation" in it.
      values: contents of results.json; docs/results.md lists its fields.
    """

    workdir: Path
    folder: Path
    values: dict[str, Any]

    @property
    def networks(self) -> dict[str, dict[str, Any]]:
        """Each network's parameters, speed, metrics and intervals, by "teacher", "student", ..."""
        return self.values["networks"]

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Each network's metrics: `results.metrics["student"]["recall_at_1"]`."""
        return {name: row["metrics"] for name, row in self.networks.items()}

    @property
    def report(self) -> Path:
        """Path of report.html."""
        return self.folder / "report.html"

    def load(self, name: str = "student") -> LoadedRun:
        """Loads one of the run's networks, whose `embed` takes images.

        Raises:
          UserError: the run has no network of that name.
        """
        parts = roles_of(whole_run(self.workdir), self.workdir)
        places = {part: path for part, (_, path) in parts.items()}
        if name not in places:
            raise UserError(f"network: unknown name {name!r}; {nearest(name, places)}")
        return load_run(places[name])

    def images(self, split: str = "test") -> Split:
        """Loads the images, labels and class names of the run's "train", "validation" or "test"."""
        splits = Splits()[whole_run(self.workdir).data]
        if split not in splits:
            raise UserError(f"split: unknown name {split!r}; {nearest(split, splits)}")
        return splits[split]

    def export(self, *formats: str) -> Path:
        """Exports the student, and compares each file with the network.

        Args:
          *formats: "stablehlo", "onnx", "safetensors", "stablehlo_int8" or "onnx_int8"; none: all
            that can be written with what is installed.

        Returns:
          The folder of the files.

        Raises:
          UserError: a file differs from the network, or its library is not installed.
        """
        export_run(self.workdir, formats=",".join(formats))
        return self.workdir / "export"

    def __repr__(self) -> str:
        """One line; `print(results)` has the table."""
        found = {name: values["recall_at_1"] for name, values in self.metrics.items()}
        shown = ", ".join(f"{printable(name)} {value:.3f}" for name, value in found.items())
        return f"Results({str(self.folder)!r}, Recall@1: {shown})"

    def __str__(self) -> str:
        return f"Results({str(self.folder)!r})\n{table(self.networks)}"

    def _repr_html_(self) -> str:
        """The report, in a frame of its own."""
        page = html.escape(self.report.read_text(encoding="utf-8"))
        return f'<iframe srcdoc="{page}" width="100%" height="{_HEIGHT}" frameborder="0"></iframe>'


def train(config: Any, *, workdir: str | PathLike, hook: Hook | None = None) -> Results:
    """Trains the networks of a config that are not trained yet, then evaluates and reports.

    The same call resumes a run that was interrupted, and returns the results of a finished one.

    Args:
      config: of `load_config`, or a nested mapping of plain values.
      workdir: takes everything that the run writes.
      hook: an object with `on_log(step, values)`, `on_validation(step, values)` and
        `on_end(results)`, for a tracker: docs/guides/track.md. None: what `config.hook` names.

    Returns:
      The results.

    Raises:
      UserError: a field, a file or the workdir is not as it must be; names it and what to do.
    """
    run, folder = _run_of(config), Path(workdir)
    train_and_report(run, folder, hook)
    return _results(folder, folder)


def evaluate(workdir: str | PathLike, config: Any = None) -> Results:
    """Evaluates the networks of a finished run again, or what a config's `evaluation` names.

    Args:
      workdir: of the run.
      config: whose `evaluation` names networks, datasets or a split; None: the run's own.

    Returns:
      The results.

    Raises:
      UserError: the workdir holds no finished run, or a run of another config.
    """
    folder = Path(workdir)
    run = None if config is None else _run_of(config)
    return _results(folder, evaluate_and_report(run, folder))


def compare(runs: Sequence[str | PathLike], *, workdir: str | PathLike) -> Path:
    """Compares finished runs of one dataset on one page.

    Args:
      runs: their workdirs; the first is what the others are compared with.
      workdir: takes report.html.

    Returns:
      Path of the page.

    Raises:
      UserError: a run is not finished, or was measured on other images.
    """
    compare_and_report([Path(each) for each in runs], Path(workdir))
    return Path(workdir) / "report.html"


def embed_outside(config: Any, path: str | PathLike, function: Callable[[np.ndarray], Any]) -> None:
    """Embeds the images that a config trains on by a teacher of another framework.

    The file is for the config's `teacher.embeddings`. With `store_teacher` and `data.views`, the
    augmented views are embedded too, and stored beside it.

    Args:
      config: of `load_config`, or a nested mapping; `teacher.data.image_size` is what the function
        takes.
      path: of the .npz to write.
      function: uint8 images [n, h, w, c] to embeddings [n, dim], with n of 256, or of views
        `data.batch_size`: a network of PyTorch or ONNX Runtime with its preprocessing, or a call
        to a service.

    Raises:
      UserError: the config has no teacher, the function gives no embeddings, or the file cannot be
        written.
    """
    write_embeddings(_run_of(config), Path(path), function)


def _run_of(config: Any) -> Run:
    """Reads and checks a config."""
    values = config.to_dict() if hasattr(config, "to_dict") else config
    if not isinstance(values, Mapping):
        raise UserError(
            f"config: must be a ConfigDict or a mapping (got {type(config).__name__}); use "
            "darkrank_jax.load_config"
        )
    return read_run(values)


def _results(workdir: Path, folder: Path) -> Results:
    """Reads what an evaluation wrote."""
    return Results(workdir, folder, read_results(folder / "results.json"))
