"""From a run's config to its results: teacher, baseline and student, one after the other."""

from collections.abc import Mapping
from pathlib import Path

from jax.sharding import Mesh

from darkrank_jax.config.run import Run
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.distributed.processes import lead_first, leads
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.report import view, write_report
from darkrank_jax.runs.compare import compare
from darkrank_jax.runs.evaluate import (
    Networks,
    Source,
    datasets_of,
    evaluate,
    is_stored,
    networks_of,
    save_embeddings,
)
from darkrank_jax.runs.preflight import check_devices, check_sizes, load_data, summary
from darkrank_jax.runs.results import read_results, table, write_results
from darkrank_jax.training.checkpoints import check_place
from darkrank_jax.training.initial_weights import import_network
from darkrank_jax.training.loop import fit
from darkrank_jax.training.network import Embedder, load_network, make_ensemble
from darkrank_jax.training.provenance import identify
from darkrank_jax.workdir import run_file
from darkrank_jax.workdir.metrics_log import read_log
from darkrank_jax.workdir.recorded import as_recorded, whole_run
from darkrank_jax.workdir.run_file import writing


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
        run_file.check_same(workdir, run, identity=identify(run, {}, workdir / "teacher"))
        if leads():
            print(table(read_results(done)["networks"]))
            print(
                f"\n{workdir} is done; look at {workdir / 'report.html'}. To start again, delete "
                f"{workdir} or give another --workdir."
            )
        return
    if not run.losses:
        raise UserError("losses: is empty, so that only --mode eval can run; name a loss")
    check_place(workdir)
    check_devices(run)
    mesh = make_mesh(run.data.batch_size)
    # The first process builds what the others then find built.
    with lead_first():
        check_sizes(run)
    if leads():
        print(summary(run, workdir), flush=True)
    networks = {}
    for name, (part, path) in _parts(run, workdir).items():
        networks[name] = train(part, path, name, mesh, networks.get("teacher"))
    _report(run, workdir, workdir, mesh, networks, {"test": Source(run.data, "test")})


def evaluate_and_report(run: Run | None, workdir: Path) -> None:
    """Evaluates a finished run again, or what the config's `evaluation` names, and reports.

    By default those are the networks of a finished run on its test split, whose results and report
    are written anew; anything else goes to `workdir / "evaluation"`.

    Args:
      run: read from a config, of which only what is measured must be that of the workdir; None:
        the run as the workdir has it.
      workdir: that `train_and_report` wrote, unless the config names other networks.

    Raises:
      UserError: a network, a dataset or a file of embeddings is not there, or does not fit.
    """
    run = run or whole_run(workdir)
    mesh = make_mesh(run.data.batch_size)
    chosen, datasets = run.evaluation, datasets_of(run)
    if chosen.networks:
        networks = networks_of(run, datasets, mesh)
    else:
        mend = "leave out --config, or give its own; another dataset goes to evaluation.datasets"
        run = as_recorded(workdir, run, mend)
        parts = _parts(run, workdir)
        networks = {n: _load(part, path, mesh) for n, (part, path) in parts.items()}
        identity = identify(run, load_data(run.data), workdir / "teacher")
        run_file.check_same(workdir, run, mend, identity=identity)
    target = workdir if chosen.of_the_run_itself() else workdir / "evaluation"
    _report(run, workdir, target, mesh, networks, datasets)


def compare_and_report(runs: list[Path], workdir: Path) -> None:
    """Makes one page out of several finished runs.

    Args:
      runs: workdirs that hold a results.json.
      workdir: takes report.html.

    Raises:
      UserError: a run is not finished, or they were measured on different images.
    """
    _make(workdir)
    print(compare(runs, workdir / "report.html"))
    print(f"\nWrote {workdir / 'report.html'}.")


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
    if run.checkpoint or not run.is_trained:
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
    if run.checkpoint or run.is_trained:
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
        parts["baseline"] = (run.baseline_run, workdir / "baseline")
    return parts | {"student": (run, workdir)}


def _report(
    run: Run,
    workdir: Path,
    target: Path,
    mesh: Mesh,
    networks: Networks,
    datasets: Mapping[str, Source],
) -> None:
    """Evaluates, writes results.json, report.html and embeddings, and prints the tables."""
    results, measured = evaluate(workdir.name, networks, datasets, mesh, seed=run.seed)
    if not leads():
        return
    _make(target)
    if run.evaluation.save_embeddings:
        save_embeddings(target / "embeddings", measured)
    curves = {name: read_log(path) for name, path in _logs(run, workdir).items()}
    write_report(target / "report.html", results, measured=measured, curves=curves)
    # Last, since it is what says that the run is done.
    write_results(target / "results.json", results)
    for index, name in enumerate(datasets):
        print(f"\n{name}\n{table(view(results, name if index else None)['networks'])}")
    print(f"\nWrote {target / 'results.json'} and {target / 'report.html'}.")


def _logs(run: Run, workdir: Path) -> dict[str, Path]:
    """Where the networks that are evaluated were trained."""
    if not run.evaluation.networks:
        return {name: path for name, (_, path) in _parts(run, workdir).items()}
    places = run.evaluation.networks.items()
    return {name: Path(place) for name, place in places if not is_stored(place)}


def _make(folder: Path) -> None:
    """Makes a folder, or says that it cannot be written."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
