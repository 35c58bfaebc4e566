"""Checkpoints through Orbax: the best by validation and the latest few, whole or not at all."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from jax.sharding import NamedSharding
from orbax.checkpoint import checkpoint_managers

from darkrank_jax.errors import UserError
from darkrank_jax.training.state import TrainState

BEST = "recall_at_1"
_ARRAYS = ("params", "batch_stats", "opt_state", "ema_params")


class Restored(NamedTuple):
    """A state and the seconds of training that led to it."""

    state: TrainState
    seconds: float


def open_checkpoints(workdir: Path, keep: int) -> ocp.CheckpointManager:
    """Opens, or begins, the checkpoints of a workdir.

    Args:
      workdir: of the run.
      keep: latest checkpoints to keep, beside the best.

    Returns:
      Orbax's manager; close it, or use it in a `with`.
    """
    policy = checkpoint_managers.AnyPreservationPolicy(
        [
            checkpoint_managers.LatestN(keep),
            checkpoint_managers.BestN(
                get_metric_fn=_metric, n=1, keep_checkpoints_without_metrics=False
            ),
        ]
    )
    options = ocp.CheckpointManagerOptions(
        preservation_policy=policy, best_fn=_metric, best_mode="max"
    )
    handlers: dict[str, Any] = {name: ocp.StandardCheckpointHandler() for name in _ARRAYS}
    handlers["progress"] = ocp.JsonCheckpointHandler()
    return ocp.CheckpointManager(
        (workdir / "checkpoints").absolute(), options=options, item_handlers=handlers
    )


def save(
    manager: ocp.CheckpointManager,
    state: TrainState,
    seconds: float,
    metrics: dict[str, float] | None,
) -> None:
    """Saves a state in the background.

    Args:
      manager: of the workdir.
      state: what to save.
      seconds: of training so far.
      metrics: of validation, or None where the run was interrupted between two validations.
    """
    arrays = {name: ocp.args.StandardSave(getattr(state, name)) for name in _saved(state)}
    progress = ocp.args.JsonSave({"seconds": seconds})
    manager.save(
        int(state.step), args=ocp.args.Composite(progress=progress, **arrays), metrics=metrics
    )


def restore(
    manager: ocp.CheckpointManager,
    step: int,
    like: TrainState,
    sharding: NamedSharding,
    *,
    evaluated_only: bool = False,
) -> Restored:
    """Restores the checkpoint of a step onto the devices.

    Args:
      manager: of the workdir.
      step: one of `manager.all_steps()`.
      like: a state (or its shapes) of the same architecture.
      sharding: where the arrays go.
      evaluated_only: leave the optimizer's state of `like` as it is, so that a network restores
        whatever optimizer trained it.

    Returns:
      The state and the seconds of training behind it.

    Raises:
      UserError: the checkpoint is of another architecture; names the first parameter that differs.
    """
    names = [name for name in _saved(like) if not (evaluated_only and name == "opt_state")]
    _check_same(manager, step, like, names)

    def target(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    arrays = {
        name: ocp.args.StandardRestore(jax.tree.map(target, getattr(like, name))) for name in names
    }
    args = ocp.args.Composite(progress=ocp.args.JsonRestore(), **arrays)
    items = manager.restore(step, args=args)
    restored = {name: items[name] for name in names}
    step_array = jax.device_put(jax.numpy.asarray(step, like.step.dtype), sharding)
    return Restored(like.replace(step=step_array, **restored), items["progress"]["seconds"])


def _metric(metrics: dict[str, float]) -> float:
    """The validation metric by which the best checkpoint is kept."""
    return metrics[BEST]


def _saved(state: TrainState) -> list[str]:
    """The items that a checkpoint of this state holds; empty trees have nothing to save."""
    return [name for name in _ARRAYS if jax.tree.leaves(getattr(state, name))]


def _check_same(
    manager: ocp.CheckpointManager, step: int, like: TrainState, names: list[str]
) -> None:
    """Refuses a checkpoint whose parameters have other names or shapes."""
    metadata = manager.item_metadata(step)
    where = f"{manager.directory}/{step}"
    for name in names:
        if metadata[name] is None:
            raise UserError(
                f"{where}: has no {name}; it was trained with another config, so state that one "
                "(is ema_decay the same?)"
            )
        found = _shapes(metadata[name])
        expected = _shapes(getattr(like, name))
        for path in sorted(found.keys() | expected.keys()):
            if found.get(path) != expected.get(path):
                raise UserError(
                    f"{where}: is of another architecture: {name}{path} is "
                    f"{_shape_name(found.get(path))} there and {_shape_name(expected.get(path))} "
                    "in this config; state the model that it was trained with"
                )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each leaf by its path."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    names = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    return {f"/{name}": tuple(leaf.shape) for name, leaf in names.items()}


def _shape_name(shape: tuple[int, ...] | None) -> str:
    """How the error names a shape, or its lack."""
    return "missing" if shape is None else f"of shape {shape}"
