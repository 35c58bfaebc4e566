"""Weights that were trained elsewhere: the start of a run, or a teacher that is not trained."""

import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from darkrank_jax.config.run import Run
from darkrank_jax.data import height_and_width
from darkrank_jax.distributed.mesh import put, replicated
from darkrank_jax.errors import UserError
from darkrank_jax.models import build_model
from darkrank_jax.models.pretrained import load_linear, load_weights
from darkrank_jax.models.weight_settings import read_settings
from darkrank_jax.terminal import printable
from darkrank_jax.training.network import Network, build
from darkrank_jax.training.state import TrainState

_LOG = logging.getLogger(__name__)


def read_weights(run: Run, channels: int) -> dict[str, Any]:
    """The variables that a run's weights give, of its embedding model.

    Args:
      run: the run; its `weights`, `model` and image size count here.
      channels: of an image.

    Returns:
      {"params": {"backbone": ...}, "batch_stats": ...} in parts: what the file does not give, such
      as an embedding layer without `weights.head`, is not there. Without a file: {}.

    Raises:
      UserError: from the file; or its embedding layer has another size.
    """
    weights, size = run.weights, height_and_width(run.data.image_size)
    if not weights.path:
        return {}
    _report_settings(run, size)
    model: Any = build_model(**run.model)
    loaded = load_weights(
        weights.path,
        model.backbone,
        image_shape=(*size, channels),
        prefix=weights.prefix or None,
        ignore=weights.ignore,
    )
    variables = {collection: {"backbone": values} for collection, values in loaded.items()}
    if weights.head:
        layer = load_linear(weights.path, weights.head)
        image = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
        outputs, _ = jax.eval_shape(
            lambda x: model.init_with_output(jax.random.key(0), x, train=False), image
        )
        expected = (outputs["features"].shape[-1], outputs["embeddings"].shape[-1])
        if layer["kernel"].shape != expected:
            raise UserError(
                f"{weights.path}: its layer {weights.head!r} makes {layer['kernel'].shape[1]} "
                f"numbers of {layer['kernel'].shape[0]}, and the model {expected[1]} of "
                f"{expected[0]}; give that model.embedding_dim, or another weights.head"
            )
        variables["params"]["embedding"] = layer
    return variables


def _report_settings(run: Run, size: tuple[int, int]) -> None:
    """Warns of images that are not prepared as those that the weights were trained on."""
    stated = read_settings(run.weights.path)
    own: dict[str, Any] = {"mean": run.data.mean, "std": run.data.std, "image_size": size}
    differing = [
        f"data.{name} is {own[name]} and there {value}"
        for name, value in (("mean", stated.mean), ("std", stated.std), ("image_size", stated.size))
        if value is not None and not np.allclose(own[name], value, atol=1e-3)
    ]
    if differing:
        resized = f", resized by {stated.interpolation}" if stated.interpolation else ""
        _LOG.warning(
            "%s was trained on other images, as %s beside it says%s: %s",
            printable(str(run.weights.path)),
            " and ".join(stated.files),
            printable(resized),
            "; ".join(differing),
        )


def with_weights(run: Run, state: TrainState, channels: int) -> TrainState:
    """A run's first state, with what its weights give in place of what was drawn.

    Args:
      run: the run.
      state: as drawn.
      channels: of an image.

    Returns:
      The state itself where the run has no weights.
    """
    found = read_weights(run, channels)
    if not found:
        return state
    model = {**state.params["model"], **found["params"]}
    params = state.params | {"model": jax.tree.map(jnp.asarray, model)}
    stats = {**state.batch_stats, **found.get("batch_stats", {})}
    return state.replace(
        params=params,
        batch_stats=jax.tree.map(jnp.asarray, stats),
        # A copy, as in `create_state`.
        ema_params=jax.tree.map(jnp.copy, params) if run.ema_decay else None,
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
    state = with_weights(run, jax.jit(initial_state)(), channels)
    variables = put(state.evaluated, replicated(mesh))
    return Network(run, model, variables, 0, 0.0, workdir, channels)
