"""The networks of a run: teacher, baseline and student, and where each was trained."""

from pathlib import Path

from jax.sharding import Mesh

from darkrank_jax.config.run import Run
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training.initial_weights import import_network
from darkrank_jax.training.network import Embedder, load_network, make_ensemble


def roles_of(run: Run, workdir: Path) -> dict[str, tuple[Run, Path]]:
    """The networks of a run in the order of training: the run and the workdir of each.

    A teacher of stored embeddings is not among them, since it embeds no other images.
    """
    if run.teacher is None:
        return {"network": (run, workdir)}
    parts = {}
    if not run.teacher.embeddings:
        parts["teacher"] = (run.teacher, Path(run.teacher.checkpoint or workdir / "teacher"))
    if run.baseline:
        parts["baseline"] = (run.baseline_run, workdir / "baseline")
    return parts | {"student": (run, workdir)}


def load(run: Run, splits: Splits, workdir: Path, mesh: Mesh) -> Embedder:
    """A network, or an ensemble, that exists already; trains nothing.

    Args:
      run: of the network.
      splits: of its data.
      workdir: where it was trained, unless the run names a checkpoint.
      mesh: the devices it goes to, whole on each.
    """
    if run.ensemble:
        members = {
            member: load(part, splits, workdir / member, mesh)
            for member, part in run.ensemble.items()
        }
        return make_ensemble(run, members, workdir)
    if run.checkpoint or run.is_trained:
        return load_network(run, Path(run.checkpoint or workdir), mesh)
    channels = splits[run.data]["train"].images.shape[-1]
    return import_network(run, workdir, mesh, channels)
