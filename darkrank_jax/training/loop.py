"""Trains one network: restore, step, log, validate, save, and a way to stop."""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from darkrank_jax.config.description import describe
from darkrank_jax.config.registered import needs_of
from darkrank_jax.config.run import Run, needs_teacher
from darkrank_jax.data import POOL, Split, class_neighbors, labelled_part
from darkrank_jax.distributed.mesh import by_rows, put, replicated
from darkrank_jax.distributed.processes import agreed, lead_first
from darkrank_jax.distributed.signals import Interrupted, catch_signals
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.agreement import rank_agreement
from darkrank_jax.evaluation.retrieval import retrieval_metrics
from darkrank_jax.training import checkpoints
from darkrank_jax.training.batches import Batches
from darkrank_jax.training.compiled import compile_stages
from darkrank_jax.training.hooks import Hook, call_hook, named
from darkrank_jax.training.initial_weights import read_weights, with_weights
from darkrank_jax.training.network import Embedder, Network, build, embed, load_network
from darkrank_jax.training.profile import tracing
from darkrank_jax.training.progress import Meter, Progress, mean_metrics, show_progress
from darkrank_jax.training.provenance import input_digests, teacher_digest
from darkrank_jax.training.state import TrainState
from darkrank_jax.training.teacher.embeddings import TeacherEmbeddings
from darkrank_jax.training.teacher.outputs import open_store
from darkrank_jax.training.teacher.views import open_views
from darkrank_jax.workdir import run_file
from darkrank_jax.workdir.metrics_log import open_log

Batch = dict[str, Any]


class Teaching(NamedTuple):
    """What a run's batches hold of its teacher, or who computes it in each step.

    Attributes:
      network: sees each batch within the step; None: nothing is computed there.
      stored: outputs of the teacher for the batch of a step; {} where there are none.
    """

    network: Embedder | None
    stored: Callable[[int, Batch], dict[str, np.ndarray]]


class _Opened(NamedTuple):
    """What a network's training reads and writes.

    Attributes:
      manager: of its checkpoints.
      state: to go on from.
      seconds: of training so far.
      record: logs values of a step and calls the hook; gives what that raised.
      progress: shows how far training is.
      traced: takes the metrics of a step, to trace the next ones.
    """

    manager: Any
    state: TrainState
    seconds: float
    record: Callable[[str, int, dict[str, float]], UserError | None]
    progress: Progress
    traced: Callable[[Any], None]


def fit(
    run: Run,
    splits: dict[str, Split],
    workdir: Path,
    mesh: Mesh,
    name: str,
    teacher: Embedder | TeacherEmbeddings | None,
    teacher_splits: dict[str, Split] | None = None,
    held: np.ndarray | None = None,
    hook: Hook | None = None,
) -> Network:
    """Trains a network to its last step, from where its workdir stands.

    Args:
      run: what to train and how.
      splits: of the run's data; "train" and "validation" are used.
      workdir: takes run.json, checkpoints, metrics.jsonl and TensorBoard's events.
      mesh: the devices; the batch is split over them.
      name: of the network, on the progress bar.
      teacher: the network, or the stored embeddings, that `run.teacher` names.
      teacher_splits: the same at the teacher's image size; None: it sees the same images.
      held: embeddings of "validation" by the teacher, where its images have no labels and the
        teacher is no network.
      hook: is called with what is logged and validated.

    Returns:
      The network of the best checkpoint by validation: by Recall@1, or without labels by the
      agreement with the teacher.

    Raises:
      UserError: a loss became NaN or infinite, and nothing is saved past the last good checkpoint;
        the workdir is not this run's, or cannot be written; the hook failed, and all is saved.
      Interrupted: Ctrl-C or SIGTERM came; the state is saved.
    """
    train = splits["train"]
    teacher_splits = teacher_splits or splits
    teacher_split = teacher_splits["train"]
    with ExitStack() as stack:
        with lead_first():
            stack.enter_context(run_file.held(workdir))
            place = teacher.workdir if isinstance(teacher, Embedder) else workdir
            facts = {
                "run": describe(run),
                "channels": train.images.shape[-1],
                "num_classes": len(train.class_names),
                "identity": input_digests(splits, teacher_digest(run.teacher, place)),
            }
            run_file.claim(workdir, facts | needs_of(run.data, run.losses))
        sampler = run.data.sampler
        if run.data.asks_teacher and teacher:
            sampler = sampler | _neighbors(teacher, teacher_split, sampler.get("pool", POOL), mesh)
        wanted = {name for name in run.loss_inputs if name.startswith("teacher_")}
        batches = Batches(train, run.data, sampler, run.seed, run.steps, teacher_split)
        teaching = _teaching(
            teacher if wanted else None,
            batches,
            wanted,
            run.store_teacher and run.store_dtype,
            Path(run.teacher_file) if run.views_from_outside else None,
            mesh,
        )
        if teaching.network is None:
            # What it says is there already, so that nobody looks at its images.
            batches = batches._replace(teacher_split=train)
        validation = splits["validation"]
        if not validation.class_names and isinstance(teacher, Embedder):
            held = embed(teacher, teacher_splits["validation"], mesh)
        _train(run, batches, teaching, (validation, held), workdir, mesh, name, hook)
    return load_network(run, workdir, mesh)


def _train(
    run: Run,
    batches: Batches,
    teaching: Teaching,
    held: tuple[Split, np.ndarray | None],
    workdir: Path,
    mesh: Mesh,
    name: str,
    hook: Hook | None,
) -> None:
    """Does the steps of `fit` in a workdir that is this run's."""
    distilling = {*filter(needs_teacher, run.losses)}
    channels, num_classes = batches.train.images.shape[-1], len(batches.train.class_names)
    model, _, initial_state = build(run, channels=channels, num_classes=num_classes)
    train_step = compile_stages(run, channels, num_classes, teaching.network)
    variables = teaching.network.variables if teaching.network else {}
    key = put(jax.random.key(run.seed), replicated(mesh))
    is_over = functools.partial(_ended_early, workdir, run.patience * run.eval_every)
    with catch_signals() as requested:
        with ExitStack() as stack:
            opened = _open(run, channels, workdir, name, hook, initial_state, mesh)
            manager, state, seconds, record, progress, traced = stack.enter_context(opened)
            step = int(state.step)
            # Of several processes none can stop alone.
            alone = jax.process_count() == 1
            stream = stack.enter_context(batches.stream(step, requested if alone else lambda: 0))
            meter, logged = Meter(run.data.batch_size, seconds), step
            for batch in meter.timed(() if is_over(step) else stream):
                batch |= {"teacher": teaching.stored(step, batch)}
                compiled = train_step(step)
                annotated = jax.profiler.StepTraceAnnotation("train", step_num=step)
                with annotated, progress.compiling(compiled):
                    state, metrics = compiled(state, put(batch, by_rows(mesh)), variables, key)
                traced(metrics)
                meter.add(metrics)
                step += 1
                progress.move(logged + meter.computed())
                validating = step % run.eval_every == 0 or step == run.steps
                due = step % run.log_every == 0 or validating
                # Several processes agree where they meet anyway.
                stopping = agreed(requested()) if due or alone else 0
                if not (due or stopping):
                    continue
                rows, speed = meter.read()
                values = mean_metrics(rows, step, workdir, distilling) | speed
                progress.report(step, values)
                failure = record("on_log", step, values)
                logged, scores = step, None
                if validating:
                    trained = (state.evaluated, step, meter.seconds, workdir, channels)
                    scores = _validate(Network(run, model, *trained), *held, mesh)
                    failure = record("on_validation", step, scores) or failure
                failure = _in_all(failure)
                if validating or stopping or failure:
                    checkpoints.save(manager, state, meter.seconds, scores)
                    # Asked again, since validation takes a while.
                    number = agreed(requested())
                    if failure or number or run.patience:
                        checkpoints.wait(manager)
                    if failure or number:
                        raise failure or _interrupted(name, workdir, step, run.steps, number)
                    if validating and is_over(step):
                        break
                meter.resume()
            if requested() and step < run.steps and manager.latest_step() != step:
                # A worker that was stopped gave no more images.
                checkpoints.save(manager, state, meter.seconds, None)
                checkpoints.wait(manager)
        # The last save was waited for, which takes a while, too.
        if number := agreed(requested()):
            raise _interrupted(name, workdir, step, run.steps, number)


@contextmanager
def _open(
    run: Run,
    channels: int,
    workdir: Path,
    name: str,
    hook: Hook | None,
    initial_state: Callable[[], TrainState],
    mesh: Mesh,
) -> Iterator[_Opened]:
    """Opens what a network's training reads and writes, where its workdir stands."""
    with ExitStack() as stack:
        opened = checkpoints.open_checkpoints(workdir, run.keep_checkpoints)
        manager = stack.enter_context(opened)
        latest = manager.latest_step()
        read = functools.partial(read_weights, run.weights, run.model, run.data, channels)
        state, seconds = _restore(latest, workdir, initial_state, read, mesh)
        step = int(state.step)
        log = stack.enter_context(open_log(workdir, step))
        record = functools.partial(_record, log, hook, name, workdir)
        shown = show_progress(name, step, run.steps, run.data.num_workers)
        progress = stack.enter_context(shown)
        traced = stack.enter_context(tracing(workdir / "tensorboard", run.profile))
        yield _Opened(manager, state, seconds, record, progress, traced)


def _record(
    log: Callable[[int, dict[str, float]], None],
    hook: Hook | None,
    name: str,
    workdir: Path,
    method: str,
    step: int,
    values: dict[str, float],
) -> UserError | None:
    """Writes values to the logs of a workdir, and calls the hook; returns what that raised."""
    if method == "on_validation":
        values = {f"validation/{metric}": value for metric, value in values.items()}
    log(step, values)
    advice = f"{workdir} is saved at step {step}; fix the hook, and the same command resumes"
    return call_hook(hook, method, step, named(name, values), advice=advice)


def _in_all(failure: UserError | None) -> UserError | None:
    """A hook's failure, which the first process alone has, in all processes, since all save."""
    if not agreed(failure is not None):
        return None
    return failure or UserError("hook: failed in the first process; its error says why")


def _ended_early(workdir: Path, patience: int, step: int) -> bool:
    """Whether no validation was better in the last steps, up to one that is saved; 0: never."""
    best = checkpoints.best_step(workdir) if patience else None
    return best is not None and step - best >= patience


def _validate(
    network: Network, validation: Split, taught: np.ndarray | None, mesh: Mesh
) -> dict[str, float]:
    """Retrieval metrics on the validation split, or without labels agreement with the teacher."""
    found = embed(network, validation, mesh)
    if validation.class_names:
        return retrieval_metrics(found, validation.labels)
    assert taught is not None
    return rank_agreement(found, taught)


def _restore(
    step: int | None,
    workdir: Path,
    initial_state: Callable[[], TrainState],
    read: Callable[[], Mapping[str, Any]],
    mesh: Mesh,
) -> checkpoints.Restored:
    """The state of a step's checkpoint; without one the first state, with the weights it reads."""
    if step is not None:
        return checkpoints.restore(workdir, step, jax.eval_shape(initial_state), replicated(mesh))
    state = with_weights(jax.jit(initial_state)(), read())
    return checkpoints.Restored(put(state, replicated(mesh)), 0.0)


def _neighbors(
    teacher: Embedder | TeacherEmbeddings, train: Split, pool: int, mesh: Mesh
) -> dict[str, np.ndarray]:
    """The classes that the teacher finds closest to each class, for the sampler."""
    labelled = labelled_part(train)
    if isinstance(teacher, TeacherEmbeddings):
        embeddings = teacher.of(np.arange(len(labelled.labels)))
    else:
        embeddings = embed(teacher, labelled, mesh)
    return {"neighbors": class_neighbors(embeddings, labelled.labels, pool=pool)}


def _teaching(
    teacher: Embedder | TeacherEmbeddings | None,
    batches: Batches,
    wanted: set[str],
    store: str | Literal[False],
    viewed: Path | None,
    mesh: Mesh,
) -> Teaching:
    """Where the teacher's outputs come from: a file of embeddings, a store, or each step."""
    seen = batches.of_teacher()
    if isinstance(teacher, TeacherEmbeddings):
        if not (store and viewed):
            return Teaching(
                None, lambda _, batch: {"teacher_embeddings": teacher.of(batch["rows"])}
            )
        outputs = open_views(viewed, seen, store)
    elif teacher is None or not store:
        return Teaching(teacher, lambda *_: {})
    else:
        outputs = open_store(teacher.workdir / "outputs", seen, teacher, wanted, mesh, store)
    return Teaching(None, lambda step, batch: outputs.read(*batches.place(step, batch["rows"])))


def _interrupted(name: str, workdir: Path, step: int, steps: int, number: int) -> Interrupted:
    """What a run that was asked to stop, and has saved, ends in."""
    return Interrupted(
        f"{name}: stopped at step {step} of {steps} and saved in {workdir}; the same command "
        "goes on from there",
        number,
    )
