"""Trains what a run names: teacher, baseline and student, one after the other; then evaluates."""

from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from darkrank_jax.config.description import describe
from darkrank_jax.config.run import Data, Evaluation, Run
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.distributed.processes import lead_first, leads
from darkrank_jax.errors import UserError
from darkrank_jax.runs.datasets import (
    DatasetSource,
    check_queries,
    datasets_of,
    find_distractors,
)
from darkrank_jax.runs.evaluate import report
from darkrank_jax.runs.preflight import NO_LABELS, check_sizes, summary
from darkrank_jax.runs.results import read_results, table
from darkrank_jax.runs.roles import load, roles_of
from darkrank_jax.runs.splits import Splits, in_steps
from darkrank_jax.training.checkpoints import check_place
from darkrank_jax.training.hooks import Hook, call_hook, make_hook
from darkrank_jax.training.loop import fit
from darkrank_jax.training.network import Embedder, make_ensemble
from darkrank_jax.training.provenance import input_digests, teacher_digest
from darkrank_jax.training.teacher.embeddings import (
    TeacherEmbeddings,
    read_held,
    read_teacher_embeddings,
)
from darkrank_jax.workdir.run_file import check_same


def train_and_report(run: Run, workdir: Path, hook: Hook | None = None) -> None:
    """Trains what a run names and is not trained yet, then evaluates and reports.

    Args:
      run: read from a config.
      workdir: takes everything the run writes.
      hook: is called with what is logged, validated and found; None: what `run.hook` makes.

    Raises:
      UserError: something that the user can fix.
      Interrupted: Ctrl-C or SIGTERM; the same call resumes.
    """
    if run.checkpoint:
        raise UserError("checkpoint: is for a teacher; leave it empty to train this network")
    splits, done = Splits(), workdir / "results.json"
    # The first process builds what the others then find built.
    with lead_first():
        run = in_steps(run, splits)
    if done.exists():
        teacher = teacher_digest(run.teacher, workdir / "teacher")
        check_same(workdir, describe(run), digests=input_digests({}, teacher))
        if leads():
            print(table(read_results(done)["networks"]))
            print(
                f"\n{workdir} is done; look at {workdir / 'report.html'}. To start again, delete "
                f"{workdir} or give another --workdir."
            )
        return
    if not run.losses:
        raise UserError("losses: must not be empty but for --mode eval; name a loss")
    check_place(workdir)
    for part, prefix in run.nested():
        if part.is_trained and not part.checkpoint:
            make_mesh(part.data.batch_size, where=f"{prefix}data")
    mesh = make_mesh(run.data.batch_size)
    with lead_first():
        networks = check_sizes(run, splits)
        # Here, so that a mistake in them is an error before the training.
        datasets = _measured_on(run.data, run.evaluation, splits)
        check_queries(run.evaluation, datasets, splits)
        distractors = find_distractors(run.evaluation, run.data, splits)
    if leads():
        print(summary(run, networks, splits, workdir), flush=True)
    # Others have none, even where they could make one.
    hook = make_hook(hook, run.hook, workdir, describe(run)) if leads() else None
    trained = {}
    for name, (part, path) in roles_of(run, workdir).items():
        trained[name] = train(part, splits, path, name, mesh, trained.get("teacher"), hook)
    if not datasets:
        if leads():
            print(f"{workdir} is trained, and was measured nowhere, since {NO_LABELS}.")
        _end(hook, {}, workdir)
        return
    report(
        workdir,
        workdir.name,
        trained,
        datasets,
        splits,
        mesh,
        run.evaluation,
        distractors,
        seed=run.seed,
    )
    _end(hook, read_results(done) if hook else {}, workdir)


def _end(hook: Hook | None, results: dict[str, Any], workdir: Path) -> None:
    """Calls a run's hook at its end."""
    advice = f"{workdir} is finished; fix the hook for the next run"
    if failure := call_hook(hook, "on_end", results, advice=advice):
        raise failure


def _measured_on(data: Data, evaluation: Evaluation, splits: Splits) -> dict[str, DatasetSource]:
    """What a run is measured on at its end: its own test images; those it names; or nothing."""
    if "test" in splits[data]:
        return {"test": DatasetSource(data, "test")}
    return datasets_of(evaluation, data) if evaluation.datasets else {}


def train(
    run: Run,
    splits: Splits,
    workdir: Path,
    name: str,
    mesh: Mesh,
    teacher: Embedder | None = None,
    hook: Hook | None = None,
) -> Embedder:
    """Trains one network, and its teacher before it where none is given.

    Args:
      run: read from a config; with a `checkpoint`, the network is loaded from that workdir; with
        weights and no steps, from there; an ensemble's members are trained one after the other.
      splits: of the run and its teachers.
      workdir: of this network; its teacher's is `workdir / "teacher"`.
      name: of the network, on the progress bar.
      mesh: the devices.
      teacher: the network that `run.teacher` describes, where it is at hand.
      hook: of the whole run.

    Returns:
      The network of the best checkpoint by validation.
    """
    if run.ensemble:
        members = {
            member: train(part, splits, workdir / member, f"{name}'s {member}", mesh, hook=hook)
            for member, part in run.ensemble.items()
        }
        return make_ensemble(run, members, workdir)
    if run.checkpoint or not run.is_trained:
        return load(run, splits, workdir, mesh)
    own = splits[run.data]
    source: Embedder | TeacherEmbeddings | None = None
    if run.teacher_file:
        source = read_teacher_embeddings(run.teacher_file, own["train"])
    elif run.teacher:
        beside, called = workdir / "teacher", f"{name}'s teacher"
        source = teacher or train(run.teacher, splits, beside, called, mesh, hook=hook)
    held = None
    if isinstance(source, TeacherEmbeddings) and not own["validation"].class_names:
        held = read_held(run.teacher_file, own["validation"])
    return fit(run, own, workdir, mesh, name, source, splits[run.teacher_data], held, hook)
