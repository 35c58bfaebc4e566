"""Weights that were trained elsewhere: the start of a run, or a teacher that is not trained."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from darkrank_jax.config.run import Data, Run, Weights
from darkrank_jax.data import height_and_width
from darkrank_jax.distributed.mesh import put, replicated
from darkrank_jax.errors import UserError
from darkrank_jax.models import MODELS, build_model
from darkrank_jax.models.pretrained import (
    describe_weights,
    load_linear,
    load_norm,
    load_weights,
)
from darkrank_jax.models.weights.settings import read_settings
from darkrank_jax.terminal import printable
from darkrank_jax.training.network import Network, build
from darkrank_jax.training.state import TrainState

_LOG = logging.getLogger(__name__)


def read_weights(
    weights: Weights, model: Mapping[str, Any], data: Data, channels: int
) -> dict[str, Any]:
    """Variables of an embedding model from a file of weights.

    Args:
      weights: of a run.
      model: "name" and options of the run's model.
      data: of the run; its image size counts, and its mean and std are compared with the file's.
      channels: of an image.

    Returns:
      {"params": {"backbone": ...}, "batch_stats": ...} in parts: what the file does not give, such
      as an embedding layer without `weights.head`, is not there. Without a file: {}.

    Raises:
      UserError: from the file; or its embedding layer has another size.
    """
    size = height_and_width(data.image_size)
    if not weights.path:
        return {}
    report_settings(weights.path, data.mean, data.std, size)
    network: Any = build_model(**model)
    try:
        loaded = load_weights(
            weights.path,
            network.backbone,
            image_shape=(*size, channels),
            prefix=weights.prefix or None,
            ignore=weights.ignore,
        )
    except UserError as error:
        raise UserError(f"{error}{_other_network(weights.path, model)}") from error
    variables = {collection: {"backbone": values} for collection, values in loaded.items()}
    if not (weights.head or weights.neck):
        return variables
    image = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
    outputs, _ = jax.eval_shape(
        lambda x: network.init_with_output(jax.random.key(0), x, train=False), image
    )
    expected = (outputs["features"].shape[-1], outputs["embeddings"].shape[-1])
    if weights.head:
        layer = load_linear(weights.path, weights.head)
        if layer["kernel"].shape != expected:
            raise UserError(
                f"{weights.path}: its layer {weights.head!r} makes {layer['kernel'].shape[1]} "
                f"numbers of {layer['kernel'].shape[0]}, and the model {expected[1]} of "
                f"{expected[0]}; give that model.embedding_dim, or another weights.head"
            )
        variables["params"]["embedding"] = layer
    if weights.neck:
        params, statistics = load_norm(weights.path, weights.neck)
        if params["scale"].shape != expected[1:]:
            raise UserError(
                f"{weights.path}: its norm {weights.neck!r} is of {len(params['scale'])} numbers, "
                f"and the embedding has {expected[1]}; give that model.embedding_dim (0: the "
                "pooled features), or another weights.neck"
            )
        variables["params"]["embedding_bn"] = params
        variables["batch_stats"]["embedding_bn"] = statistics
    return variables


def _other_network(path: str, model: Mapping[str, Any]) -> str:
    """How an error ends where the file holds a known network that is not the model."""
    try:
        found = describe_weights(path)
    except UserError:
        return ""
    # Two 3x3 stems have the same weights, so that the file does not say which it is.
    options = {name: value for name, value in found["options"].items() if name != "stem"}
    stated = {"name": found["model"], **options}
    differing = [f"model.{name}" for name, value in stated.items() if model.get(name) != value]
    if found["model"] not in MODELS or not differing:
        return ""
    listed = ", ".join(f"{name} {value}" for name, value in options.items())
    shown = f"{found['model']} ({listed})" if listed else found["model"]
    return f"; it looks like {shown}: set {' and '.join(differing)}"


def report_settings(path: str, mean: Any, std: Any, size: tuple[int, int]) -> None:
    """Warns of images that are not prepared as those that the weights were trained on."""
    stated = read_settings(path)
    own: dict[str, Any] = {"mean": mean, "std": std, "image_size": size}
    differing = [
        f"data.{name} is {own[name]} and there {value}"
        for name, value in (("mean", stated.mean), ("std", stated.std), ("image_size", stated.size))
        if value is not None and not np.allclose(own[name], value, atol=1e-3)
    ]
    if differing:
        resized = f", resized by {stated.interpolation}" if stated.interpolation else ""
        _LOG.warning(
            "%s was trained on other images, as %s beside it says%s: %s",
            printable(path),
            " and ".join(stated.files),
            printable(resized),
            "; ".join(differing),
        )


def with_weights(state: TrainState, weights: Mapping[str, Any]) -> TrainState:
    """A first state with weights in place of the parameters that were drawn.

    Args:
      state: as drawn.
      weights: of `read_weights`; {}: the state stays as it is.

    Returns:
      The state.
    """
    if not weights:
        return state
    model = {**state.params["model"], **weights["params"]}
    params = state.params | {"model": jax.tree.map(jnp.asarray, model)}
    stats = {**state.batch_stats, **weights.get("batch_stats", {})}
    return state.replace(
        params=params,
        batch_stats=jax.tree.map(jnp.asarray, stats),
        # A copy, as in `create_state`.
        ema_params=None if state.ema_params is None else jax.tree.map(jnp.copy, params),
    )


def import_network(run: Run, workdir: Path, mesh: Mesh, channels: int) -> Network:
    """The network of a run's weights as it is, not trained here.

    Args:
      run: with `weights` and 0 steps.
      workdir: that would hold it had it been trained here.
      mesh: the devices it goes to, whole on each.
      channels: of an image.

    Returns:
      The network.

    Raises:
      UserError: from the file.
    """
    # No class weights are drawn, so any number of classes will do.
    model, _, initial_state = build(run, channels=channels, num_classes=1)
    weights = read_weights(run.weights, run.model, run.data, channels)
    state = with_weights(jax.jit(initial_state)(), weights)
    variables = put(state.evaluated, replicated(mesh))
    return Network(run, model, variables, 0, 0.0, workdir, channels)
