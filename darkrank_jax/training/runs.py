"""From a run's config to its results: teacher, baseline and student, one after the other."""

import json
from collections.abc import Mapping
from pathlib import Path

import jax
from jax.sharding import Mesh

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.report import write_report
from darkrank_jax.training import workdir as workdirs
from darkrank_jax.training.imported import import_network
from darkrank_jax.training.loop import fit
from darkrank_jax.training.mesh import make_mesh
from darkrank_jax.training.metrics_log import read_log
from darkrank_jax.training.network import Embedder, load_network, make_ensemble
from darkrank_jax.training.preflight import check_sizes, load_data, summary
from darkrank_jax.training.results import SCHEMA, measure, table, write_results
from darkrank_jax.training.run_config import Run, baseline_of, is_trained


def train_and_report(run: Run, workdir: Path) -> None:
    """Trains what a run names and is not trained yet, then evaluates and reports.

    Args:
      run: read from a config.
      workdir: takes everything the run writes.

    Raises:
      UserError: something the user can mend.
      Interrupted: Ctrl-C or SIGTERM; the same call goes on from there.
    """
    if run.checkpoint:
        raise UserError("checkpoint: is for a teacher; leave it empty to train this network")
    done = workdir / "results.json"
    if done.exists():
        workdirs.check_same(workdir, run)
        print(table(json.loads(done.read_text())["networks"]))
        print(
            f"\n{workdir} is done; look at {workdir / 'report.html'}. To start again, delete "
            f"{workdir} or give another --workdir."
        )
        return
    mesh = make_mesh(run.data.batch_size)
    check_sizes(run)
    print(summary(run, workdir), flush=True)
    networks = {}
    for name, (part, path) in _parts(run, workdir).items():
        networks[name] = train(part, path, name, mesh, networks.get("teacher"))
    _report(run, workdir, mesh, networks)


def evaluate_and_report(run: Run, workdir: Path) -> None:
    """Evaluates the networks of a finished run again and rewrites its results and report.

    Args:
      run: read from a config.
      workdir: that `train_and_report` wrote.

    Raises:
      UserError: a network is not there.
    """
    mesh = make_mesh(run.data.batch_size)
    networks = {}
    for name, (part, path) in _parts(run, workdir).items():
        networks[name] = _load(part, path, mesh)
    _report(run, workdir, mesh, networks)


def train(
    run: Run, workdir: Path, name: str, mesh: Mesh, teacher: Embedder | None = None
) -> Embedder:
    """Trains one network, and its teacher before it where none is given.

    Args:
      run: read from a config; with a `checkpoint`, the network is loaded from that workdir; with
        weights and no steps, from there; an ensemble's members are trained one after the other.
      workdir: of this network; its teacher's is `workdir / "teacher"`.
      name: of the network, on the progress bar.
      mesh: the devices.
      teacher: the network that `run.teacher` describes, where it is at hand.

    Returns:
      The network of the best checkpoint by validation.
    """
    if run.ensemble:
        members = {
            member: train(part, workdir / member, f"{name}'s {member}", mesh)
            for member, part in run.ensemble.items()
        }
        return make_ensemble(run, members, workdir)
    if run.checkpoint or not is_trained(run):
        return _load(run, workdir, mesh)
    if run.teacher is None or run.teacher.embeddings:
        teacher = None
    elif teacher is None:
        teacher = train(run.teacher, workdir / "teacher", f"{name}'s teacher", mesh)
    return fit(run, load_data(run.data), workdir, mesh, name, teacher)


def _load(run: Run, workdir: Path, mesh: Mesh) -> Embedder:
    """A network, or several as one, that is there already; trains nothing."""
    if run.ensemble:
        members = {
            member: _load(part, workdir / member, mesh) for member, part in run.ensemble.items()
        }
        return make_ensemble(run, members, workdir)
    if run.checkpoint or is_trained(run):
        return load_network(run, Path(run.checkpoint or workdir), mesh)
    channels = load_data(run.data)["train"].images.shape[-1]
    return import_network(run, workdir, mesh, channels)


def _parts(run: Run, workdir: Path) -> dict[str, tuple[Run, Path]]:
    """The networks of a run in the order of training: what each is and where it lies.

    A teacher of stored embeddings is none, since it embeds no other images.
    """
    if run.teacher is None:
        return {"network": (run, workdir)}
    parts = {}
    if not run.teacher.embeddings:
        parts["teacher"] = (run.teacher, Path(run.teacher.checkpoint or workdir / "teacher"))
    if run.baseline:
        parts["baseline"] = (baseline_of(run), workdir / "baseline")
    return parts | {"student": (run, workdir)}


def _report(run: Run, workdir: Path, mesh: Mesh, networks: Mapping[str, Embedder]) -> None:
    """Writes results.json and report.html, and prints the table."""
    split = load_data(run.data)["test"]
    rows, embeddings = measure(networks, split, mesh)
    results = {
        "schema": SCHEMA,
        "name": workdir.name,
        "seed": run.seed,
        "dataset": {
            "source": run.data.source,
            "split": "test",
            "images": len(split.labels),
            "classes": len(split.class_names),
        },
        "devices": f"{mesh.size} x {jax.devices()[0].device_kind}",
        "networks": rows,
    }
    curves = {name: read_log(path) for name, (_, path) in _parts(run, workdir).items()}
    write_report(
        workdir / "report.html",
        results,
        images=split.images,
        labels=split.labels,
        class_names=split.class_names,
        embeddings=embeddings,
        curves=curves,
    )
    # Last, since it is what says that the run is done.
    write_results(workdir / "results.json", results)
    print(f"\n{table(rows)}\n\nWrote {workdir / 'results.json'} and {workdir / 'report.html'}.")
