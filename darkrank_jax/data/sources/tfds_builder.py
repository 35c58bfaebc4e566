"""A tensorflow-datasets builder of the standard sets that needs no TensorFlow.

Importing this module imports tensorflow-datasets, which takes seconds, and registers the builder:
`tfds.builder("darkrank_sets/cub200")`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from darkrank_jax.data.files.listing import natural_order
from darkrank_jax.data.sources.standard_sets import STANDARD_SETS, VERSION, Found, find_images


class DarkrankSets(tfds.core.GeneratorBasedBuilder):
    """Each standard set as a config, with the splits of its authors.

    The files' bytes are stored as they are; archives are looked for in `manual_dir`.
    """

    VERSION = tfds.core.Version(VERSION)
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in STANDARD_SETS]  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = "The authors' archives, as they are published."

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(),
            "label": tfds.features.ClassLabel(),
            "camera": np.int32,
            "file": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            # In the order of the files' names, as they are read.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        config: Any = self.builder_config
        found = find_images(config.name, Path(dl_manager.manual_dir))
        names = sorted({each.place.label for each in found})
        ranks = natural_order(names)
        features: Any = self.info.features
        features["label"].names = [names[i] for i in np.argsort(ranks)]
        parts = {each.place.part: None for each in found}
        return {
            part: self._generate_examples([each for each in found if each.place.part == part])
            for part in parts
        }

    def _generate_examples(self, found: list[Found]) -> Iterator[tuple[int, dict[str, Any]]]:
        for key, each in enumerate(found):
            yield (
                key,
                {
                    "image": each.read(each.name),
                    "label": each.place.label,
                    "camera": each.place.camera,
                    "file": each.name,
                },
            )
