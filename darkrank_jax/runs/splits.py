"""The splits that the networks of a command see, each loaded once."""

import dataclasses
import json
import math

from darkrank_jax.config.registered import check_source
from darkrank_jax.config.run import Data, Run
from darkrank_jax.data import SOURCES, Split, height_and_width, join_unlabelled


class Splits:
    """Splits by the data of a run: `Splits()[run.data]["train"]`.

    Networks of one run share their images, so what was loaded stays as long as this object.
    """

    def __init__(self):
        self._loaded: dict[str, dict[str, Split]] = {}

    def __getitem__(self, data: Data) -> dict[str, Split]:
        """Loads "train", "validation" and "test"; no class is in two of them.

        Images without labels are at the end of "train"; a source of these alone has no "test".

        Raises:
          UserError: from the source.
        """
        check_source(data)
        size, found = height_and_width(data.image_size), data.unlabelled
        others = [found["path"], found.get("options")] if found else []
        key = json.dumps([data.source, data.path, size, data.options, *others])
        if key not in self._loaded:
            self._loaded[key] = self._load(data)
        return self._loaded[key]

    def _load(self, data: Data) -> dict[str, Split]:
        """The splits of a source, and what is joined to "train"."""
        given = {"path": data.path, "image_size": height_and_width(data.image_size)}
        found = data.unlabelled
        if not found:
            return SOURCES[data.source](**given, **data.options)
        labelled = self[dataclasses.replace(data, unlabelled={})]
        options = found.get("options", {})
        others = {"source": "unlabelled", "path": found["path"], "options": options}
        unlabelled = self[dataclasses.replace(data, **others, unlabelled={})]
        return labelled | {"train": join_unlabelled(labelled["train"], unlabelled["train"])}


def in_steps(run: Run, splits: Splits) -> Run:
    """A run, its teacher and the members of its ensemble, with epochs counted in steps.

    An epoch is as many steps as hold the number of images trained on. The last step of a run may
    reach beyond its last epoch.

    Args:
      run: read from a config.
      splits: whose data is loaded where a length, or a warm-up, is in epochs.

    Returns:
      The run with 0 `epochs` and `warmup_epochs`, and the `steps` and `warmup_steps` that they are.
    """
    # What was trained elsewhere has its length already.
    if run.checkpoint:
        return run
    teacher = run.teacher and in_steps(run.teacher, splits)
    ensemble = {name: in_steps(member, splits) for name, member in run.ensemble.items()}
    run = dataclasses.replace(run, teacher=teacher, ensemble=ensemble)
    if not (run.epochs or run.warmup_epochs):
        return run
    batches = len(splits[run.data]["train"].labels) / run.data.batch_size
    schedule = run.schedule
    if run.warmup_epochs:
        schedule = schedule | {"warmup_steps": math.ceil(run.warmup_epochs * batches)}
    steps = math.ceil(run.epochs * batches) if run.epochs else run.steps
    return dataclasses.replace(run, steps=steps, schedule=schedule, epochs=0.0, warmup_epochs=0.0)
