"""The page as a whole: its sections in order, put into the template and written in one piece."""

import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from darkrank_jax.data import Images
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.report.curves import curves_section
from darkrank_jax.evaluation.report.headline import headline
from darkrank_jax.evaluation.report.markup import Html, join, tag
from darkrank_jax.evaluation.report.neighbors import Gallery, neighbors_section
from darkrank_jax.evaluation.report.table import results_section

_PACKAGE = "darkrank_jax.evaluation.report"


def write_report(
    path: str | os.PathLike[str],
    results: dict[str, Any],
    *,
    images: Images,
    labels: Integer[np.ndarray, " images"],
    class_names: tuple[str, ...],
    embeddings: dict[str, Float[np.ndarray, "images _"]],
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    """Writes one self-contained page: no script, no network, every text from data escaped.

    The file appears whole or not at all, and the same input gives the same bytes.

    Args:
      path: of the file, in a folder that exists.
      results: what `results.json` holds; "teacher" and "baseline" may be absent.
      images: the split that was measured, with 1 or 3 channels, 0..255.
      labels: the class of each image, 0..len(class_names) - 1.
      class_names: of the labels.
      embeddings: network -> its embeddings, in the order of `images`; networks may be absent.
      curves: network -> rows of its `metrics.jsonl`; networks may be absent.

    Raises:
      UserError: the file cannot be written.

    Example:
      >>> import tempfile
      >>> network = {"model": {"name": "resnet18"}, "losses": {"triplet": {"weight": 1.0}},
      ...            "parameters": 8, "images_per_second": 1.0, "steps": 5,
      ...            "training_seconds": 2.0, "metrics": {"recall_at_1": 0.5}}
      >>> results = {"name": "demo", "seed": 0, "devices": "1 x cpu",
      ...            "dataset": {"source": "glyphs", "split": "test", "images": 4, "classes": 2},
      ...            "networks": {"student": network}}
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_report(f"{folder}/report.html", results,
      ...                  images=np.zeros((4, 8, 8, 1), np.uint8), labels=np.array([0, 0, 1, 1]),
      ...                  class_names=("a", "b"), embeddings={"student": np.eye(4)}, curves={})
      ...     Path(folder, "report.html").read_text(encoding="utf-8")[:15]
      '<!doctype html>'
    """
    gallery = Gallery(images, labels, class_names)
    sections = [
        _header(results),
        results_section(results),
        curves_section(curves),
        neighbors_section(results, gallery, embeddings),
        _settings_section(results["networks"]),
    ]
    template = (resources.files(_PACKAGE) / "template.html").read_text(encoding="utf-8")
    title = join([results["name"], " \N{MIDDLE DOT} darkrank_jax"])
    page = Template(template).substitute(title=title, main=join(sections))
    _write_whole(Path(path), page)


def _header(results: dict[str, Any]) -> Html:
    """The name of the run, what it found, and on what."""
    dataset = results["dataset"]
    facts = [
        f"{dataset['source']}, {dataset['split']} split",
        f"{dataset['images']:,} images of {dataset['classes']:,} classes",
        f"seed {results['seed']}",
        results["devices"],
    ]
    return tag(
        "header",
        tag("h1", tag("bdi", results["name"])),
        tag("p", headline(results), class_="headline"),
        tag("p", " \N{MIDDLE DOT} ".join(facts), class_="note"),
    )


def _settings_section(networks: dict[str, Any]) -> Html:
    """Model and losses of every network, as they stand in the config."""
    entries = [
        part
        for name, network in networks.items()
        for part in (tag("dt", tag("bdi", name)), *_settings(network))
    ]
    return tag("section", tag("h2", "Settings"), tag("dl", *entries))


def _settings(network: dict[str, Any]) -> list[Html]:
    """The model on one line, then one line for each loss."""
    losses = [_with_arguments(name, arguments) for name, arguments in network["losses"].items()]
    model = {key: value for key, value in network["model"].items() if key != "name"}
    return [tag("dd", line) for line in (_with_arguments(network["model"]["name"], model), *losses)]


def _with_arguments(name: str, arguments: dict[str, Any]) -> str:
    """A name and its arguments, as a call would be written."""
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


def _write_whole(path: Path, text: str) -> None:
    """Writes beside the file and renames, so that no reader sees a half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # A folder that names a class may hold bytes that are no text.
        temporary.write_text(text, encoding="utf-8", errors="replace")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"{path}: the report cannot be written ({error.strerror}); choose another --workdir"
        ) from error
