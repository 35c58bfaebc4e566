"""The parts of our step, each a function to be called again and again."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from configs import default
from darkrank_jax.config.reader import read_run
from darkrank_jax.config.run import Run
from darkrank_jax.data import Split, batches
from darkrank_jax.distributed.mesh import by_rows, make_mesh, put, replicated
from darkrank_jax.losses import combine
from darkrank_jax.training.compiled import compile_step, teach
from darkrank_jax.training.network import Network, build
from darkrank_jax.training.step import normalize_images
from experiments.step_anatomy import batch as batches_
from experiments.step_anatomy.batch import LOSSES, Engine, Part, Sizes


def engine(sizes: Sizes, compiled: bool) -> Engine:
    """Our step."""
    assert compiled
    run, mesh = run_of(sizes), make_mesh(sizes.batch)
    all_images, all_labels = batches_.images(sizes)
    model, optimizer, initial = build(run, channels=3, num_classes=len(all_labels))
    state = jax.jit(initial)()
    assert run.teacher is not None
    teacher_model, _, teacher_initial = build(run.teacher, channels=3, num_classes=1)
    variables = jax.jit(teacher_initial)().evaluated
    teacher = Network(run.teacher, teacher_model, variables, 0, 0.0, Path(), 3)
    host = {"images": all_images[: sizes.batch], "labels": all_labels[: sizes.batch]}
    images, labels = (put(array, by_rows(mesh)) for array in host.values())
    student_rows, teacher_rows = map(jnp.asarray, batches_.embeddings(sizes))

    def forward(params: Any, images: jax.Array) -> tuple[jax.Array, Any]:
        outputs, updates = model.apply(
            {"params": params["model"], "batch_stats": state.batch_stats},
            normalize_images(images, 0.5, 0.5),
            train=True,
            mutable=["batch_stats"],
        )
        return outputs["embeddings"], updates

    def backward(params: Any, images: jax.Array, cotangent: jax.Array) -> Any:
        return jax.grad(lambda p: jnp.vdot(forward(p, images)[0], cotangent))(params)

    def update(params: Any, gradient: Any, opt_state: Any) -> Any:
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    def loss_of(names: tuple[str, ...]) -> Part:
        total = combine({name: LOSSES[name] for name in names})

        def value(rows: jax.Array) -> jax.Array:
            arrays = {"embeddings": rows, "teacher_embeddings": teacher_rows, "labels": labels}
            return total(arrays, step=state.step, key=jax.random.key(0))[0]

        return _called(jax.jit(jax.value_and_grad(value)), student_rows)

    gradient = jax.tree.map(jnp.zeros_like, state.params)
    alone = read_run({**_config(sizes), "teacher": {}, "losses": {"triplet": LOSSES["triplet"]}})
    stored = read_run({**_config(sizes), "store_teacher": True})
    said = {"teacher_embeddings": np.asarray(teacher_rows)}
    stream = _stream(run, all_images, all_labels)
    taught = compile_step(run, model, optimizer, teacher)
    parts = {
        "teacher": _called(jax.jit(teach(teacher, {"teacher_embeddings"})), variables, images),
        "student forward": _called(jax.jit(forward), state.params, images),
        "student forward and backward": _called(
            jax.jit(backward), state.params, images, student_rows
        ),
        **{name: loss_of((name,)) for name in LOSSES},
        "all losses": loss_of(tuple(LOSSES)),
        "optimizer": _called(jax.jit(update), state.params, gradient, state.opt_state),
        "step": _step(taught, initial, mesh, lambda: host, variables, {}),
        # What was made ahead is used up by the one before the other.
        "data": lambda: next(stream),
        "step, images loaded": _step(taught, initial, mesh, lambda: next(stream), variables, {}),
        "step, teacher stored": _step(
            compile_step(stored, model, optimizer, None), initial, mesh, lambda: host, {}, said
        ),
        "step, student alone": _step(
            compile_step(alone, model, optimizer, None), initial, mesh, lambda: host, {}, {}
        ),
    }
    queues = jax.devices()[0].platform != "cpu"
    loaders = run.data.num_workers or run.data.num_threads
    return Engine(parts, jax.block_until_ready, queues, loaders, jax.profiler.trace)


def flops(sizes: Sizes) -> float:
    """Floating-point operations of a step, as the compiler counts them in the network's parts."""
    run = run_of(sizes)
    model, _, initial = build(run, channels=3, num_classes=1)
    assert run.teacher is not None
    teacher_model, _, teacher_initial = build(run.teacher, channels=3, num_classes=1)
    images = jax.ShapeDtypeStruct((sizes.batch, sizes.pixels, sizes.pixels, 3), jnp.float32)

    def of(model: Any, initial: Any) -> float:
        state = jax.eval_shape(initial)
        variables = {"params": state.params["model"], "batch_stats": state.batch_stats}
        # XLA counts them before it compiles for CPUs alone.
        with jax.default_device(jax.devices("cpu")[0]):
            lowered = jax.jit(lambda v, x: model.apply(v, x, train=False)).lower(variables, images)
        cost: Any = lowered.cost_analysis()
        return cost["flops"]

    # The backward pass takes about twice the forward pass.
    return 3 * of(model, initial) + of(teacher_model, teacher_initial)


def _config(sizes: Sizes) -> dict[str, Any]:
    """The run whose step is taken apart, as a config."""
    config = default.get_config().unlock()
    config.model.update({"name": batches_.STUDENT, "embedding_dim": batches_.DIM})
    config.model.dtype = sizes.dtype
    config.data.update({"batch_size": sizes.batch, "image_size": sizes.pixels})
    config.data.num_threads = os.cpu_count() or 1
    config.data.num_workers = sizes.workers
    config.data.augmentation = {"random_resized_crop": {}, "horizontal_flip": {}}
    config.losses = LOSSES
    teacher = default.get_config().unlock()
    teacher.model.update({"name": batches_.TEACHER, "embedding_dim": batches_.DIM})
    teacher.model.dtype = sizes.dtype
    teacher.data.image_size = sizes.pixels
    teacher.losses = {"triplet": LOSSES["triplet"]}
    config.teacher = teacher
    return config.to_dict()


def run_of(sizes: Sizes) -> Run:
    """The run whose step is taken apart."""
    return read_run(_config(sizes))


def _called(function: Callable[..., Any], *arguments: Any) -> Part:
    return lambda: function(*arguments)


def _step(
    step: Callable[..., Any],
    initial: Callable[[], Any],
    mesh: Any,
    batch: Callable[[], dict],
    teacher_variables: Any,
    said: dict,
) -> Part:
    """A whole step as the loop does it, from a batch in the host's memory."""
    holder = [put(jax.jit(initial)(), replicated(mesh))]
    key = put(jax.random.key(0), replicated(mesh))

    def call() -> object:
        given = put(batch() | {"teacher": said}, by_rows(mesh))
        holder[0], metrics = step(holder[0], given, teacher_variables, key)
        return metrics

    return call


def _stream(run: Run, images: np.ndarray, labels: np.ndarray) -> Iterator[dict]:
    """Batches as the loop has them, from images in memory."""
    split = Split(images, labels, tuple(map(str, range(labels.max() + 1))))
    stream = batches(
        split,
        seed=0,
        first_step=0,
        num_steps=10**9,
        batch_size=run.data.batch_size,
        images_per_class=run.data.images_per_class,
        augmentation=run.data.augmentation,
        num_threads=run.data.num_threads,
        num_workers=run.data.num_workers,
    )
    return ({name: batch[name] for name in ("images", "labels")} for batch in stream)
