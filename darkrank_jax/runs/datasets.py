"""The images of an evaluation: its datasets, and distractors that join their galleries."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from darkrank_jax.config.run import Data, Evaluation
from darkrank_jax.digests import digest
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.embedding_files import SUFFIXES
from darkrank_jax.evaluation.image_digests import images_digest
from darkrank_jax.evaluation.protocols import OF_GALLERIES
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training.network import Embedder, embed


class DatasetSource(NamedTuple):
    """Where a dataset's images come from; without data, from the stored embeddings."""

    data: Data | None
    split: str


class Distractors(NamedTuple):
    """Images that join a gallery and are never right.

    Attributes:
      sources: of their images, at least one.
      facts: what results.json says of them.
    """

    sources: Sequence[DatasetSource]
    facts: dict[str, Any]

    def embed(
        self, networks: Mapping[str, Any], splits: Splits, mesh: Mesh
    ) -> dict[str, np.ndarray]:
        """Each network's embeddings of all of them, float32 [n, dim].

        Raises:
          UserError: a network is given by its embeddings, or does not take the images.
        """
        found = {}
        for name, network in networks.items():
            if not isinstance(network, Embedder):
                raise UserError(
                    "evaluation.distractors: must be empty where a network is given by a file of "
                    f"embeddings (got evaluation.networks.{name}); give its workdir"
                )
            parts = [
                embed_dataset(name, network, "distractors", source, splits, mesh)
                for source in self.sources
            ]
            found[name] = np.concatenate(parts)
        return found


def is_stored(place: Any) -> bool:
    """Whether a network is given by its embeddings."""
    return isinstance(place, Mapping) or place.endswith(SUFFIXES)


def datasets_of(chosen: Evaluation, data: Data) -> dict[str, DatasetSource]:
    """The datasets that a run's config names for evaluation, or its own.

    Args:
      chosen: `evaluation` of the run.
      data: of the run.

    Returns:
      Name -> images; what a dataset leaves out is as in the run's data where the source is the
      same, and empty otherwise.
    """
    if chosen.datasets:
        return {
            name: DatasetSource(_data_of(fields, data), fields.get("split", "test"))
            for name, fields in chosen.datasets.items()
        }
    if chosen.networks and all(map(is_stored, chosen.networks.values())):
        return {"stored": DatasetSource(None, "")}
    # Classes alone can be measured on.
    return {chosen.split: DatasetSource(dataclasses.replace(data, unlabelled={}), chosen.split)}


def check_queries(
    chosen: Evaluation, datasets: Mapping[str, DatasetSource], splits: Splits
) -> None:
    """Refuses distractors, and protocols of a gallery, for a set in which all images search.

    Args:
      chosen: `evaluation` of the run.
      datasets: that it measures on.
      splits: loads the images.

    Raises:
      UserError: names the field; or from a source.
    """
    fields = ["distractors"] if chosen.distractors else []
    fields += [f"protocols.{name}" for name in chosen.protocols if name in OF_GALLERIES]
    for name, source in datasets.items():
        split = splits[source.data].get(source.split) if fields and source.data else None
        if split is not None and split.queries is None:
            raise UserError(
                f"evaluation.{fields[0]}: must be for a set with queries and a gallery (got "
                f"{name!r}, where every image searches all others); leave it out"
            )


def find_distractors(chosen: Evaluation, data: Data, splits: Splits) -> Distractors | None:
    """The images that a run's config adds to every gallery.

    Args:
      chosen: `evaluation` of the run.
      data: of the run.
      splits: loads the images.

    Returns:
      Where they are; None where the config names none.

    Raises:
      UserError: from the source, or it has no such split.
    """
    if not chosen.distractors:
        return None
    own = _data_of(chosen.distractors, data)
    found = splits[own]
    wanted = chosen.distractors.get("split")
    if wanted is not None and wanted not in found:
        raise UserError(
            f"evaluation.distractors.split: must be one of {', '.join(found)} (got {wanted!r}); "
            "leave it out to take all images"
        )
    names = list(found) if wanted is None else [wanted]
    facts = {
        "source": own.source,
        "images": sum(len(found[name].labels) for name in names),
        "digest": digest([images_digest(found[name]).encode() for name in names], length=16),
    }
    return Distractors([DatasetSource(own, name) for name in names], facts)


def embed_dataset(
    name: str, network: Embedder, dataset: str, source: DatasetSource, splits: Splits, mesh: Mesh
) -> np.ndarray:
    """Embeds a dataset at the size of image that the network was trained on.

    Args:
      name: of the network, for an error.
      network: that embeds.
      dataset: its name, for an error.
      source: with data.
      splits: loads the images.
      mesh: the devices.

    Returns:
      float32 [n, dim], in the order of the split.

    Raises:
      UserError: the images have another number of channels than the network takes.
    """
    assert source.data is not None
    data = dataclasses.replace(source.data, image_size=network.run.data.image_size)
    split = splits[data][source.split]
    channels, found = network.image_shape[-1], split.images.shape[-1]
    if found != channels:
        raise UserError(
            f"{name}: takes images of {channels} channels, those of {dataset!r} have {found}; "
            "evaluate it on a dataset like the one it was trained on"
        )
    return embed(network, split, mesh)


def _data_of(fields: Mapping[str, Any], data: Data) -> Data:
    """The data that a dataset's fields name, the others as in the run where the source is."""
    same = fields["source"] == data.source
    own = {"path": data.path, "options": data.options} if same else {"path": "", "options": {}}
    own |= {name: value for name, value in fields.items() if name != "split"}
    return dataclasses.replace(data, unlabelled={}, **own)
