"""Builds a run's data without training on it, and prints what was found."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from darkrank_jax.config.run import Data, Run
from darkrank_jax.data import Split
from darkrank_jax.data.split import UNKNOWN_CAMERA
from darkrank_jax.runs.splits import Splits
from darkrank_jax.terminal import aligned, printable

_HEADS = (
    "split",
    "images",
    "classes",
    "smallest class",
    "largest class",
    "queries",
    "cameras",
    "unlabelled",
)


def prepare(run: Run, workdir: Path) -> None:
    """Builds the sources of a run and its teachers, and prints splits and what is left out.

    Args:
      run: read from a config; its data counts.
      workdir: is not written to; modes have it.

    Raises:
      UserError: from a source.
    """
    del workdir
    # Warnings of what is left out are part of what was asked for, and are told here alone.
    handler = logging.StreamHandler(sys.stdout)
    log = logging.getLogger("darkrank_jax.data")
    log.addHandler(handler)
    log.propagate = False
    splits = Splits()
    try:
        networks = [part for part, _ in run.nested() if not (part.ensemble or part.embeddings)]
        for data in _each_once([part.data for part in reversed(networks)]):
            print(f"{data.source} {data.path}".rstrip(), flush=True)
            print(table(splits[data]))
    finally:
        log.removeHandler(handler)
        log.propagate = True


def table(splits: dict[str, Split]) -> str:
    """Counts of each split, as lines of equal columns.

    Args:
      splits: by name.

    Returns:
      The lines; a column that says nothing is left out.
    """
    rows = [_HEADS, *(_row(name, split) for name, split in splits.items())]
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    return aligned(list(zip(*columns, strict=True)))


def _row(name: str, split: Split) -> tuple[str, ...]:
    """The counts of one split."""
    if not split.class_names:
        return (name, f"{len(split.labels):,}", "", "", "", "", "", "")
    unlabelled = len(split.labels) - split.num_labelled
    counts = np.bincount(split.labels[: split.num_labelled])
    least, most = (
        f"{printable(split.class_names[label])} ({counts[label]:,})"
        for label in (counts.argmin(), counts.argmax())
    )
    queries = "" if split.queries is None else f"{split.queries.sum():,}"
    sizes = (f"{len(split.labels):,}", f"{len(split.class_names):,}")
    without = f"{unlabelled:,}" if unlabelled else ""
    return (name, *sizes, least, most, queries, _cameras(split), without)


def _cameras(split: Split) -> str:
    """How many cameras there are, and how many images of unknown ones."""
    if split.cameras is None:
        return ""
    known = split.cameras[split.cameras != UNKNOWN_CAMERA]
    unknown = len(split.cameras) - len(known)
    return f"{len(np.unique(known)):,}" + (f" ({unknown:,} images unknown)" if unknown else "")


def _each_once(found: Sequence[Data]) -> list[Data]:
    """The first data of each source, path, size and options."""
    keys = [(x.source, x.path, x.image_size, x.options, x.unlabelled) for x in found]
    return [data for place, data in enumerate(found) if keys.index(keys[place]) == place]
