"""What is exported: a network in float32, its variables as arrays, and the facts of its use."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util
from jax.sharding import AxisType

from darkrank_jax.config.registered import needs_of
from darkrank_jax.digests import digest
from darkrank_jax.export.facts import SCHEMA
from darkrank_jax.training.network import Network, load_network
from darkrank_jax.workdir.run_file import is_workdir, read_facts, recorded_run

# Facts on which embeddings depend.
_SEEN = ("model", "mean", "std", "image_shape", "center_crop")

EmbedBatch = Callable[[np.ndarray], np.ndarray]


class ExportSource(NamedTuple):
    """A network that is to work outside.

    Attributes:
      network: as it was trained, but computing in float32, which its parameters are.
      facts: what its user must know, as plain values: see `facts_of`.
    """

    network: Network
    facts: dict[str, Any]

    def embed(self, images: jax.Array) -> jax.Array:
        """Uint8 images [batch, h, w, c] to embeddings; to be traced."""
        return self.network.embed_step()(self.network.variables, images)["embeddings"]


def load_source(workdir: Path) -> ExportSource:
    """The network of a workdir, by what the workdir itself says of it.

    Args:
      workdir: of a run, or the `teacher` or `baseline` in it.

    Returns:
      The network of the best checkpoint, its variables on the host.

    Raises:
      UserError: nothing was trained there, or by another version.
    """
    described = read_facts(workdir)
    run = recorded_run(workdir)
    run = dataclasses.replace(run, model=run.model | {"dtype": "float32"})
    mesh = jax.make_mesh(
        (1,), ("data",), axis_types=(AxisType.Auto,), devices=jax.local_devices()[:1]
    )
    network = load_network(run, workdir, mesh)
    network = network._replace(variables=jax.tree.map(np.asarray, network.variables))
    facts = facts_of(network, described)
    facts["compatible_with"] = _compatible_with(described["run"], workdir)
    return ExportSource(network, facts)


def facts_of(network: Network, described: Mapping[str, Any]) -> dict[str, Any]:
    """What goes along with a network wherever it goes.

    Args:
      network: whose workdir names it.
      described: of `read_facts`.

    Returns:
      "schema", "name", "model", "mean", "std", "image_shape" (height, width, channels),
      "center_crop" (share of the largest middle part that images are cut to; 0: they are taken
      whole), "embedding_dim", and
      "fingerprint", a digest that differs wherever the embeddings may. `load_source` adds
      "compatible_with", those of networks whose galleries this one's queries may search.

    Raises:
      UserError: the source is of a config file that was not loaded.
    """
    run = network.run
    # The run.json of earlier versions has no needs.
    needs = described if "center_crop" in described else needs_of(run.data, run.losses)
    facts = {
        "model": run.model,
        "mean": run.data.mean,
        "std": run.data.std,
        "image_shape": [*network.image_shape],
        "center_crop": needs["center_crop"],
    }
    images = jax.ShapeDtypeStruct((1, *network.image_shape), np.uint8)
    outputs = jax.eval_shape(network.embed_step(), network.variables, images)
    found = {
        "embedding_dim": outputs["embeddings"].shape[1],
        "fingerprint": network_digest(facts, network.variables),
    }
    named = {"schema": SCHEMA, "name": network.workdir.name}
    return json.loads(json.dumps(named | facts | found))


def _compatible_with(described: Mapping[str, Any], workdir: Path) -> list[str]:
    """The digest of the teacher, where the student learnt to search its gallery."""
    if "compatible_ranking" not in described["losses"]:
        return []
    teacher = Path(described["teacher"]["checkpoint"] or workdir / "teacher")
    if not is_workdir(teacher):
        return []
    return [load_source(teacher).facts["fingerprint"]]


def network_digest(facts: Mapping[str, Any], variables: Mapping[str, Any]) -> str:
    """The digest of all that embeddings depend on, "fingerprint" in a network's facts.

    Args:
      facts: of which those in `_SEEN` count.
      variables: as `TrainState.evaluated` gives them.
    """
    parts = {"params": variables["params"]["model"], "batch_stats": variables["batch_stats"]}
    flat = traverse_util.flatten_dict(parts, sep="/")
    seen = {name: facts[name] for name in _SEEN}
    arrays = (name.encode() + np.asarray(flat[name]).tobytes() for name in sorted(flat))
    return digest(itertools.chain([json.dumps(seen, sort_keys=True).encode()], arrays), length=16)
