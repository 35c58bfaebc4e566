"""Trains one network: batches in, steps, validation, checkpoints, logs, and a way to stop."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from darkrank_jax.config.run import Run, needs_teacher
from darkrank_jax.data import POOL, Split, batches, class_neighbors
from darkrank_jax.distributed.mesh import by_rows, put, replicated
from darkrank_jax.distributed.processes import agreed, lead_first, leads
from darkrank_jax.distributed.signals import Interrupted, catch_signals
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.retrieval import retrieval_metrics
from darkrank_jax.terminal import printable
from darkrank_jax.training import checkpoints
from darkrank_jax.training.initial_weights import with_weights
from darkrank_jax.training.network import (
    Embedder,
    Network,
    build,
    compile_step,
    embed,
    load_network,
)
from darkrank_jax.training.profile import tracing
from darkrank_jax.training.provenance import identify
from darkrank_jax.training.state import TrainState
from darkrank_jax.training.teacher.embeddings import read_stored, with_stored
from darkrank_jax.training.teacher.outputs import Store, open_store, views_stream, with_teacher
from darkrank_jax.workdir import run_file
from darkrank_jax.workdir.metrics_log import open_log

# Share of the time for which images may be waited for before a line says so.
_MUCH_WAITING = 0.2

T = TypeVar("T")


def fit(
    run: Run,
    splits: dict[str, Split],
    workdir: Path,
    mesh: Mesh,
    name: str,
    teacher: Embedder | None,
) -> Network:
    """Trains a network to its last step, from where its workdir stands.

    Args:
      run: what to train and how.
      splits: of the run's data; "train" and "validation" are used.
      workdir: takes run.json, checkpoints, metrics.jsonl and TensorBoard's events.
      mesh: the devices; the batch is split over them.
      name: of the network, on the progress bar.
      teacher: that the run's images are shown to; None where it has none, or stored embeddings.

    Returns:
      The network of the best checkpoint by validation.

    Raises:
      UserError: a loss became NaN or infinite, and nothing is saved past the last good checkpoint;
        the workdir is not this run's, or cannot be written.
      Interrupted: Ctrl-C or SIGTERM came; the state is saved.
    """
    train = splits["train"]
    sizes = {"channels": train.images.shape[-1], "num_classes": len(train.class_names)}
    with ExitStack() as stack:
        with lead_first():
            stack.enter_context(run_file.held(workdir))
            place = teacher.workdir if teacher else workdir
            run_file.claim(workdir, run, **sizes, identity=identify(run, splits, place))
        _train(run, splits, workdir, mesh, name, teacher, sizes)
    return load_network(run, workdir, mesh)


def _train(
    run: Run,
    splits: dict[str, Split],
    workdir: Path,
    mesh: Mesh,
    name: str,
    teacher: Embedder | None,
    sizes: dict[str, int],
) -> None:
    """Does the steps of `fit` in a workdir that is this run's; sizes are those of the images."""
    train, validation = splits["train"], splits["validation"]
    channels, num_classes = sizes["channels"], sizes["num_classes"]
    model, optimizer, initial_state = build(run, channels=channels, num_classes=num_classes)
    sampler = _sampler(run, train, teacher, mesh)
    # The sampler may ask a teacher that no loss compares with.
    taught_losses = {*filter(needs_teacher, run.losses)}
    taught_by = teacher if taught_losses else None
    train_step = compile_step(run, model, optimizer, taught_by)
    teacher_variables = taught_by.variables if taught_by else {}
    key = put(jax.random.key(run.seed), replicated(mesh))
    store = _store(run, train, sampler, taught_by, mesh) if taught_by and run.store_teacher else {}
    with catch_signals() as requested:
        with ExitStack() as stack:
            opened = checkpoints.open_checkpoints(workdir, run.keep_checkpoints)
            manager = stack.enter_context(opened)
            state, seconds = _begin(
                manager.latest_step(), run, workdir, initial_state, mesh, channels
            )
            step = int(state.step)
            write = stack.enter_context(open_log(workdir, step))
            report = stack.enter_context(_progress(run, name, step))
            stepped = stack.enter_context(tracing(workdir / "tensorboard", run.profile))
            pending, waits, since = [], [], time.perf_counter()
            # Of several processes none can stop alone.
            alone = requested if jax.process_count() == 1 else lambda: 0
            stream = stack.enter_context(_stream(run, train, sampler, step, alone))
            taught = with_stored(stream, run, train)
            stepwise = with_teacher(taught, store, run, len(train.labels), step)
            for batch in _noting(stepwise, pending, waits):
                with jax.profiler.StepTraceAnnotation("train", step_num=step):
                    given = put(batch, by_rows(mesh))
                    state, metrics = train_step(state, given, teacher_variables, key)
                stepped(metrics)
                pending.append(metrics)
                step += 1
                validating = step % run.eval_every == 0 or step == run.steps
                due = step % run.log_every == 0 or validating
                # Of several processes none can stop alone; they ask where they meet anyway.
                stopping = agreed(requested()) if due or jax.process_count() == 1 else 0
                if not (due or stopping):
                    continue
                dispatched = time.perf_counter()
                values = _gather(pending, step, workdir, taught_losses)
                elapsed, last = (time.perf_counter() - start for start in (since, dispatched))
                seconds += elapsed
                values["images_per_second"] = len(pending) * run.data.batch_size / elapsed
                values["waiting_for_images"] = _waiting(waits, last, elapsed)
                write(step, values)
                report(len(pending), elapsed, values)
                pending.clear()
                waits.clear()
                scores = None
                if validating:
                    network = Network(run, model, state.evaluated, step, seconds, workdir, channels)
                    scores = retrieval_metrics(embed(network, validation, mesh), validation.labels)
                    write(step, {f"validation/{metric}": score for metric, score in scores.items()})
                if validating or stopping:
                    checkpoints.save(manager, state, seconds, scores)
                    # Asked again, since validation takes a while.
                    if number := agreed(requested()):
                        checkpoints.wait(manager)
                        raise _interrupted(run, name, workdir, step, number)
                since = time.perf_counter()
            if requested() and step < run.steps and manager.latest_step() != step:
                # A worker that was stopped gave no more images.
                checkpoints.save(manager, state, seconds, None)
                checkpoints.wait(manager)
        # The last save was waited for, which takes a while, too.
        if number := agreed(requested()):
            raise _interrupted(run, name, workdir, step, number)


def _interrupted(run: Run, name: str, workdir: Path, step: int, number: int) -> Interrupted:
    """What a run that was asked to stop, and has saved, ends in."""
    return Interrupted(
        f"{name}: stopped at step {step} of {run.steps} and saved in {workdir}; the same command "
        "goes on from there",
        number,
    )


def _begin(
    step: int | None,
    run: Run,
    workdir: Path,
    initial_state: Callable[[], TrainState],
    mesh: Mesh,
    channels: int,
) -> checkpoints.Restored:
    """The state of a step's checkpoint, or the first state."""
    if step is None:
        state = with_weights(run, jax.jit(initial_state)(), channels)
        return checkpoints.Restored(put(state, replicated(mesh)), 0.0)
    return checkpoints.restore(workdir, step, jax.eval_shape(initial_state), replicated(mesh))


def _sampler(run: Run, train: Split, teacher: Embedder | None, mesh: Mesh) -> dict[str, Any]:
    """The sampler's options, with what it must know of the teacher."""
    sampler = run.data.sampler
    if not run.data.asks_teacher or run.teacher is None:
        return sampler
    if teacher is None:
        embeddings = read_stored(run.teacher.embeddings, train).of(np.arange(len(train.labels)))
    else:
        embeddings = embed(teacher, train, mesh)
    pool = sampler.get("pool", POOL)
    return sampler | {"neighbors": class_neighbors(embeddings, train.labels, pool=pool)}


def _stream(
    run: Run,
    train: Split,
    sampler: dict[str, Any],
    step: int,
    stopping: Callable[[], int] = lambda: 0,
) -> closing:
    """The batches from a step to the last; threads and workers end when it is closed."""
    data = run.data
    return closing(
        batches(
            train,
            seed=run.seed,
            first_step=step,
            num_steps=run.steps - step,
            batch_size=data.batch_size,
            images_per_class=data.images_per_class,
            augmentation=data.augmentation,
            num_threads=data.num_threads,
            num_workers=data.num_workers,
            sampler=sampler,
            process_index=jax.process_index(),
            num_processes=jax.process_count(),
            views=data.views,
            stopping=stopping,
        )
    )


def _store(run: Run, train: Split, sampler: dict[str, Any], teacher: Embedder, mesh: Mesh) -> Store:
    """What the teacher says of the run's batches, or of all views of its images."""

    def every_batch() -> Iterator[tuple[int, np.ndarray]]:
        with _stream(run, train, sampler, 0) as stream:
            yield from ((step, batch["images"]) for step, batch in enumerate(stream))

    def every_view() -> Iterator[tuple[Any, np.ndarray]]:
        return views_stream(run, train)

    wanted = {name for name in run.loss_inputs if name.startswith("teacher_")}
    folder = teacher.workdir / "outputs"
    images = every_view if run.data.views else every_batch
    return open_store(folder, run, sampler, train, teacher, wanted, images, mesh)


def _noting(
    batches: Iterator[T], pending: list[dict[str, Any]], waits: list[tuple[float, bool]]
) -> Iterator[T]:
    """The same batches; notes how long each was waited for.

    Args:
      batches: of the steps.
      pending: what steps gave that may not be done yet; none once all are.
      waits: takes the seconds, and whether the devices had nothing left to do when the batch came.
    """
    start = time.perf_counter()
    for batch in batches:
        last = pending[-1].values() if pending else ()
        waits.append((time.perf_counter() - start, all(metric.is_ready() for metric in last)))
        yield batch
        start = time.perf_counter()


def _waiting(waits: list[tuple[float, bool]], last_step: float, elapsed: float) -> float:
    """The share of some steps' time for which the devices waited for images.

    Args:
      waits: noted before each step.
      last_step: seconds of the last one; as many as of each, where the devices waited before it.
      elapsed: seconds of all.
    """
    waited, idle = sum(seconds for seconds, _ in waits), elapsed - len(waits) * last_step
    return max(0.0, min(waited, idle)) / elapsed if waits[-1][1] else 0.0


def _gather(
    pending: list[dict[str, jax.Array]], step: int, workdir: Path, taught: set[str]
) -> dict[str, float]:
    """Means of the metrics of the last steps; refuses a step whose loss is not finite.

    Args:
      pending: the metrics of each.
      step: the number of the last.
      workdir: of the run.
      taught: names of losses that compare with a teacher.
    """
    rows = jax.device_get(pending)
    for offset, row in enumerate(rows):
        wrong = [name for name, value in row.items() if not math.isfinite(value)]
        if wrong:
            named = [name.removeprefix("losses/") for name in wrong if name.startswith("losses/")]
            first = "check the teacher with --mode eval, " if named and {*named} <= taught else ""
            raise UserError(
                f"step {step - len(rows) + offset + 1}: {', '.join(named or wrong)} is NaN or "
                f"infinite; {workdir} keeps the last good checkpoint; {first}lower learning_rate, "
                "or set clip_norm, and give another --workdir"
            )
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


@contextmanager
def _progress(run: Run, name: str, step: int) -> Iterator[Callable[[int, float, dict], None]]:
    """A bar with loss, images/s and time left; says once when machine or images are late."""
    told: set[str] = set()
    with tqdm(
        total=run.steps,
        initial=step,
        desc=printable(name),
        unit="step",
        dynamic_ncols=True,
        disable=not leads(),
    ) as bar:

        def report(steps: int, elapsed: float, values: dict[str, float]) -> None:
            first = bar.n == step
            bar.set_postfix_str(
                f"loss {values['loss']:.3f}, {values['images_per_second']:.0f} images/s",
                refresh=False,
            )
            bar.update(steps)
            minutes = elapsed / steps * run.steps / 60
            lines = {}
            if minutes > 1.5 * run.expected_minutes > 0:
                lines["slow"] = (
                    f"This machine is slow: {name} takes about {minutes:.1f} minutes instead of "
                    f"{run.expected_minutes:.1f}, and the rest of the run in proportion."
                )
            if (share := values["waiting_for_images"]) > _MUCH_WAITING:
                lines["waiting"] = (
                    f"Images come late: {name} waits for them {share:.0%} of the time; where cores "
                    f"are free, raise data.num_workers ({run.data.num_workers})."
                )
            # The first steps hold the compilation, which is no sign of a slow machine.
            for subject in lines.keys() - told if not first else ():
                told.add(subject)
                bar.write(lines[subject])

        yield report
