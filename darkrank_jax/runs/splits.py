"""The splits that the networks of a command see, each loaded once."""

import json

from darkrank_jax.config.registered import check_source
from darkrank_jax.config.run import Data
from darkrank_jax.data import SOURCES, Split, height_and_width


class Splits:
    """Splits by the data of a run: `Splits()[run.data]["train"]`.

    Networks of one run share their images, so what was loaded stays as long as this object.
    """

    def __init__(self):
        self._loaded: dict[str, dict[str, Split]] = {}

    def __getitem__(self, data: Data) -> dict[str, Split]:
        """Loads "train", "validation" and "test"; no class is in two of them.

        Raises:
          UserError: from the source.
        """
        check_source(data)
        size = height_and_width(data.image_size)
        key = json.dumps([data.source, data.path, size, data.options])
        if key not in self._loaded:
            source = SOURCES[data.source]
            self._loaded[key] = source(path=data.path, image_size=size, **data.options)
        return self._loaded[key]
