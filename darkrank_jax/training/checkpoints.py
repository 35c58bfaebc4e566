"""Checkpoints through Orbax: the best by validation and the latest few, whole or not at all.

Each is written beside its place, sealed by a manifest of its files, and moved there; what is found
damaged later is not used.
"""

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from jax.sharding import NamedSharding
from orbax.checkpoint import checkpoint_managers

from darkrank_jax.distributed.processes import lead_first, leads
from darkrank_jax.errors import UserError
from darkrank_jax.files import read_json, write_error
from darkrank_jax.schema import check_schema
from darkrank_jax.training.saved_arrays import missing_arrays
from darkrank_jax.training.state import TrainState
from darkrank_jax.workdir import manifests

BEST = "recall_at_1"
# The same where no image has a label: the share of the teacher's first 10 that the student finds.
AGREEMENT = "overlap_at_10"
_LOG = logging.getLogger(__name__)
# Orbax writes the time into it when it moves the checkpoint to its place; nothing reads it here.
_UNSETTLED = ("_CHECKPOINT_METADATA",)
# Orbax reads these of it, wherever it is there.
_METADATA = {
    "item_handlers?": (dict, str, None),
    "metrics?": (dict, None),
    "performance_metrics?": (dict, None),
    "init_timestamp_nsecs?": (int, None),
    "commit_timestamp_nsecs?": (int, None),
    "custom_metadata?": (dict, None),
}
_ARRAYS = ("params", "batch_stats", "opt_state", "ema_params")


class Restored(NamedTuple):
    """A state and the seconds of training that led to it."""

    state: TrainState
    seconds: float


@contextmanager
def open_checkpoints(workdir: Path, keep: int) -> Iterator[ocp.CheckpointManager]:
    """Opens, or begins, the checkpoints of a workdir, to train there.

    Damaged ones are moved to `workdir / "damaged"` and what a killed process left unfinished is
    removed, with a line for each, so that the newest step that the manager knows is whole.

    Args:
      workdir: of the run.
      keep: latest checkpoints to keep, beside the best.

    Yields:
      Orbax's manager; what it saves is finished at the end.

    Raises:
      UserError: the last checkpoint could not be saved.
    """
    check_place(workdir)
    with lead_first():
        if leads():
            _set_aside(workdir)
    policy = checkpoint_managers.AnyPreservationPolicy(
        [
            checkpoint_managers.LatestN(keep),
            checkpoint_managers.BestN(
                get_metric_fn=_metric, n=1, keep_checkpoints_without_metrics=False
            ),
        ]
    )
    directory = _directory(workdir)

    def seal_unfinished() -> None:
        if leads():
            for folder in _unfinished(directory):
                _check_written(folder)
                manifests.seal(folder, without=_UNSETTLED)

    options = ocp.CheckpointManagerOptions(
        preservation_policy=policy,
        best_fn=_metric,
        best_mode="max",
        # Orbax calls it when all files are there, before it moves the checkpoint to its place.
        async_options=ocp.AsyncOptions(post_finalization_callback=seal_unfinished),
    )
    manager = ocp.CheckpointManager(directory, options=options, item_handlers=_savers())
    try:
        yield manager
        wait(manager)
    finally:
        with _explained(manager):
            manager.close()


def save(
    manager: ocp.CheckpointManager,
    state: TrainState,
    seconds: float,
    metrics: dict[str, float] | None,
) -> None:
    """Saves a state in the background, after the one before is there.

    Args:
      manager: of the workdir.
      state: what to save.
      seconds: of training so far.
      metrics: of validation, or None where the run was interrupted between two validations.

    Raises:
      UserError: the one before, or this one, could not be written.
    """
    arrays = {name: ocp.args.StandardSave(getattr(state, name)) for name in _saved(state)}
    progress = ocp.args.JsonSave({"seconds": seconds})
    with _explained(manager):
        manager.save(
            int(state.step), args=ocp.args.Composite(progress=progress, **arrays), metrics=metrics
        )


def wait(manager: ocp.CheckpointManager) -> None:
    """Waits until the last save is finished.

    Args:
      manager: of the workdir.

    Raises:
      UserError: it could not be written.
    """
    with _explained(manager):
        manager.wait_until_finished()


def best_step(workdir: Path) -> int | None:
    """The step of the checkpoint that validated best, of those that are whole; None without any.

    Damaged ones are told of and stay where they are, since another process may be training there.

    Args:
      workdir: of a run.

    Returns:
      A step; of equally good ones the latest.
    """
    scores = {}
    for folder in _finished(_directory(workdir)):
        metrics = folder / "metrics" / "metrics"
        if found := _damage(folder):
            _LOG.warning("%s: is damaged (%s); goes by the other checkpoints", folder, found)
        elif metrics.exists():
            advice = f"delete {folder}"
            scored = read_json(metrics, advice)
            check_schema(scored, {_best(scored): float}, metrics, advice)
            scores[int(folder.name)] = _metric(scored)
    return max(scores, key=lambda step: (scores[step], step), default=None)


def folder_of(workdir: Path, step: int | None) -> Path:
    """Where the checkpoint of a step lies."""
    return _directory(workdir) / str(step)


def restore(
    workdir: Path,
    step: int,
    like: TrainState,
    sharding: NamedSharding,
    *,
    evaluated_only: bool = False,
) -> Restored:
    """Restores the checkpoint of a step onto the devices.

    Args:
      workdir: of the run.
      step: of a checkpoint there.
      like: a state (or its shapes) of the same architecture.
      sharding: where the arrays go.
      evaluated_only: leave the optimizer's state of `like` as it is, so that a network restores
        whatever optimizer trained it.

    Returns:
      The state and the seconds of training behind it.

    Raises:
      UserError: the checkpoint is of another architecture; names the first parameter that differs.
    """
    check_place(workdir)
    names = [name for name in _saved(like) if not (evaluated_only and name == "opt_state")]
    folder = folder_of(workdir, step)

    def target(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    arrays = {
        name: ocp.args.StandardRestore(jax.tree.map(target, getattr(like, name))) for name in names
    }
    args = ocp.args.Composite(progress=ocp.args.JsonRestore(), **arrays)
    handlers: dict[str, Any] = {**_handlers(), "metrics": ocp.JsonCheckpointHandler()}
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler(**handlers)) as checkpointer:
        _check_same(folder, checkpointer.metadata(folder).item_metadata, like, names)
        items = checkpointer.restore(folder, args=args)
    restored = {name: items[name] for name in names}
    step_array = jax.device_put(jax.numpy.asarray(step, like.step.dtype), sharding)
    return Restored(like.replace(step=step_array, **restored), items["progress"]["seconds"])


def _handlers() -> dict[str, Any]:
    """How each item is written and read."""
    handlers: dict[str, Any] = {name: ocp.StandardCheckpointHandler() for name in _ARRAYS}
    return handlers | {"progress": ocp.JsonCheckpointHandler()}


def _savers() -> dict[str, Any]:
    """How each item is written.

    Orbax globs its own folder, so that a "[x]" in the path would match nothing. The `glob` of a
    standard path takes the folder as it is.
    """
    handlers = _handlers()
    for name in _ARRAYS:
        handlers[name].finalize = _literally(handlers[name].finalize)
    return handlers


def _literally(finalize: Callable[[Path], None]) -> Callable[[os.PathLike[str]], None]:
    """Gives a function a standard path in place of Orbax's own kind."""
    return lambda directory: finalize(Path(directory))


def _check_written(folder: Path) -> None:
    """Refuses to call a save whole that lacks arrays."""
    for name in _ARRAYS:
        if (folder / name).is_dir() and (missing := missing_arrays(folder / name)):
            raise UserError(
                f"{folder.parent}: a checkpoint cannot be written ({len(missing)} arrays of {name} "
                f"are not on the disk, such as {missing[0]}); give another --workdir"
            )


def check_place(workdir: Path) -> None:
    """Refuses a workdir in whose path checkpoints cannot be written.

    Args:
      workdir: of a run.

    Raises:
      UserError: the path has a backslash, or bytes that are not UTF-8.
    """
    path = str(_directory(workdir))
    if (os.sep == "/" and "\\" in path) or any(0xD800 <= ord(c) < 0xE000 for c in path):
        raise UserError(
            f"{workdir}: must be a path in UTF-8 without a backslash, since tensorstore knows no "
            "others; rename the folder, or give another --workdir"
        )


def _directory(workdir: Path) -> Path:
    """Where a workdir's checkpoints lie: absolute, for Orbax, and without "..", for tensorstore."""
    path = (workdir / "checkpoints").absolute()
    return path.resolve() if ".." in path.parts else path


def _finished(directory: Path) -> list[Path]:
    """The folders of saves that were finished, by step."""
    # Names such as "007" or "²" are not Orbax's.
    steps = re.compile("0|[1-9][0-9]*")
    folders = [path for path in directory.glob("*") if steps.fullmatch(path.name) and path.is_dir()]
    return sorted(folders, key=lambda folder: int(folder.name))


def _unfinished(directory: Path) -> list[Path]:
    """The folders of saves that were not."""
    return list(directory.glob("*.orbax-checkpoint-tmp*"))


def _damage(folder: Path) -> str:
    """What of a checkpoint is not as it was, in a few words; nothing where it is whole."""
    if found := manifests.damage(folder):
        return found
    for name in _UNSETTLED:
        path = folder / name
        try:
            if path.exists():
                check_schema(read_json(path, ""), _METADATA, path, "")
        except UserError:
            return f"{name} is altered"
    return ""


def _set_aside(workdir: Path) -> None:
    """Takes away what no training should go on from, and says so."""
    directory = _directory(workdir)
    for folder in _unfinished(directory):
        shutil.rmtree(folder)
        _LOG.warning("%s: was not finished when the run ended; removed it", folder)
    folders = _finished(directory)
    damages = {folder: _damage(folder) for folder in folders}
    whole = [folder for folder in folders if not damages[folder]]
    for folder in filter(damages.get, folders):
        aside = workdir / "damaged" / folder.name
        if aside.exists():
            shutil.rmtree(aside)
        aside.parent.mkdir(exist_ok=True)
        folder.rename(aside)
        place = f"step {whole[-1].name}" if whole else "the beginning"
        line = "%s: is damaged (%s); moved it to %s; training goes on from %s"
        _LOG.warning(line, folder, damages[folder], aside, place)


@contextmanager
def _explained(manager: ocp.CheckpointManager) -> Iterator[None]:
    """Turns a failed write into the user's line; what was saved before is still there."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        kept = [folder.name for folder in _finished(Path(manager.directory))]
        failed = write_error(Path(manager.directory), os_error_of(error))
        raise UserError(f"{failed}; checkpoints kept: {', '.join(kept) or 'none'}") from error


def os_error_of(error: Exception) -> OSError:
    """The error of the system behind an error of tensorstore, which has the number in its text."""
    if isinstance(error, OSError) and error.errno:
        return error
    text = " ".join(str(error).split())
    # Versions of tensorstore write it in two ways.
    number = re.search(r"(?:OS error |os_error_code=')(\d+)", text)
    if number:
        return OSError(int(number[1]), os.strerror(int(number[1])))
    return OSError(text.partition(" [tensorstore_spec")[0][:200])


def _metric(metrics: dict[str, float]) -> float:
    """The validation metric by which the best checkpoint is kept."""
    return metrics[_best(metrics)]


def _best(metrics: Mapping[str, float]) -> str:
    """The name of that metric."""
    return AGREEMENT if AGREEMENT in metrics else BEST


def _saved(state: TrainState) -> list[str]:
    """The items that a checkpoint of this state holds; empty trees have nothing to save."""
    return [name for name in _ARRAYS if jax.tree.leaves(getattr(state, name))]


def _check_same(folder: Path, metadata: Any, like: TrainState, names: list[str]) -> None:
    """Refuses a checkpoint whose parameters have other names or shapes."""
    for name in names:
        if metadata.get(name) is None:
            raise UserError(
                f"{folder}: has no {name}; it was trained with another config, so state that one "
                "(is ema_decay the same?)"
            )
        found = _shapes(metadata[name])
        expected = _shapes(getattr(like, name))
        for path in sorted(found.keys() | expected.keys()):
            if found.get(path) != expected.get(path):
                raise UserError(
                    f"{folder}: is of another architecture: {name}{path} is "
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
