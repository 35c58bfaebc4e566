"""The splits that the networks of a command see, each loaded once."""

import dataclasses
import json

from darkrank_jax.config.registered import check_source
from darkrank_jax.config.run import Data
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
