"""How fast the losses are, beside others in the same run; README.md has the table.

    pip install torch pytorch-metric-learning
    python -m experiments.loss_speed.run [--repetitions N] [--largest BATCH]

Value and gradient, ours compiled with jit, PyTorch's eager as people call it, on all cores. The two
take turns, so that what else the machine does meets both. A time is the median of the repetitions.
Peak memory is what a fresh process adds to its size while it computes once.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from darkrank_jax import losses
from experiments.loss_speed import others

DIM, TEACHER_DIM, CLASSES, IMAGES_PER_CLASS = 128, 256, 64, 4
BATCHES = (128, 256, 512, 1024, 2048)
# Orders of a list that still fit: 128 lists of 8 are 5 million.
ENUMERATED = (4, 5, 6, 7, 8)
# PyTorch's angles hold some seven arrays of batch^3 floats.
ANGLE_ARRAYS, MOST_GIB = 7, 16
Thunk = Callable[[], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--largest", type=int, default=BATCHES[-1], help="batch of the big rows")
    arguments = parser.parse_args()
    time_ = partial(_times, repetitions=arguments.repetitions)
    batches = [batch for batch in BATCHES if batch <= arguments.largest]
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}; times in ms\n", flush=True)
    for title, head, rows in (
        ("Soft transfer, exact", "| list | batch | ours | enumeration | ratio |", _soft),
        ("Hard transfer", "| list | batch | ours | PyTorch | ratio |", _hard),
        ("RKD", "| loss | batch | ours | PyTorch | ratio | ours, MiB | PyTorch, MiB |", _rkd),
        ("Labels", "| loss | batch | ours | pytorch-metric-learning | ratio |", _labels),
        ("Share of a ResNet-18 step", "| loss | batch | ours | share |", _shares),
    ):
        print(f"{title}\n\n{head}\n|{'---|' * (head.count('|') - 1)}")
        for row in rows(time_, batches):
            print("| " + " | ".join(row) + " |", flush=True)
        print()


def _soft(time_, batches):
    for size in ENUMERATED:
        ours, theirs = time_(
            _ours("darkrank_soft", 128, list_size=size), _theirs(others.darkrank_soft(size), 128)
        )
        yield str(size), "128", *_compared(ours, theirs)
    for size, batch in ((10, 128), (12, 128), (14, 32), (16, 32)):
        (ours,) = time_(_ours("darkrank_soft", batch, list_size=size))
        yield str(size), str(batch), f"{ours:.1f}", "", ""


def _hard(time_, batches):
    for batch in batches:
        for size in (4, batch - 1):
            # A logsumexp for each position of a long list takes batch^3 steps.
            loss = others.darkrank_hard if size == 4 else others.darkrank_hard_cumulative
            ours, theirs = time_(
                _ours("darkrank_hard", batch, list_size=size), _theirs(loss(size), batch)
            )
            yield str(size), str(batch), *_compared(ours, theirs)


def _rkd(time_, batches):
    for name in ("rkd_distance", "rkd_angle"):
        for batch in batches:
            fits = name != "rkd_angle" or ANGLE_ARRAYS * batch**3 * 4 / 2**30 < MOST_GIB
            thunks = [_ours(name, batch), *([_theirs(getattr(others, name), batch)] * fits)]
            found = time_(*thunks)
            memory = [_peak(name, batch, who) for who in ("ours", "theirs")[: len(thunks)]]
            columns = _compared(*found) if fits else (f"{found[0]:.1f}", "does not fit", "")
            yield name, str(batch), *columns, *(f"{m:.0f}" for m in memory), *([""] * (not fits))


def _labels(time_, batches):
    for name in (*others.LABELLED, *others.CLASSIFIED):
        for batch in batches[:3]:
            ours, theirs = time_(_ours(name, batch), _theirs_labelled(name, batch))
            yield name, str(batch), *_compared(ours, theirs)


def _shares(time_, batches):
    step = time_(_resnet_step(128), repetitions=3)[0]
    yield "ResNet-18 step, 32 px", "128", f"{step:.0f}", ""
    for name, (_, inputs) in losses.LOSSES.items():
        if set(inputs) <= {"embeddings", "teacher_embeddings", "labels", "class_weights"}:
            (ours,) = time_(_ours(name, 128))
            yield name, "128", f"{ours:.2f}", f"{ours / step:.2%}"


def _times(*thunks: Thunk, repetitions: int) -> list[float]:
    """Median milliseconds of each, in turns; the first call compiles and is not counted."""
    taken: list[list[float]] = [[] for _ in thunks]
    for thunk in thunks:
        thunk()
    begin = time.perf_counter()
    for round_ in range(repetitions):
        for own, thunk in zip(taken, thunks, strict=True):
            start = time.perf_counter()
            thunk()
            own.append(1e3 * (time.perf_counter() - start))
        if round_ >= 2 and time.perf_counter() - begin > 20:
            break
    return [median(own) for own in taken]


def _compared(ours: float, theirs: float) -> tuple[str, str, str]:
    return f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.1f}"


def _arrays(batch: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(batch)
    unit = {}
    for name, dim in (("embeddings", DIM), ("teacher_embeddings", TEACHER_DIM)):
        rows = rng.normal(size=(batch, dim)).astype(np.float32)
        unit[name] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit | {
        "labels": np.arange(batch, dtype=np.int32) // IMAGES_PER_CLASS % CLASSES,
        "class_weights": rng.normal(size=(DIM, CLASSES)).astype(np.float32),
    }


def _ours(name: str, batch: int, **options: Any) -> Thunk:
    arrays = {key: jnp.asarray(value) for key, value in _arrays(batch).items()}
    if name in ("correlation_congruence", "embedding_match"):
        arrays["teacher_embeddings"] = arrays["teacher_embeddings"][:, :DIM]
    function, inputs = losses.LOSSES[name]
    inner = [arrays[key] for key in inputs]
    compiled = jax.jit(jax.value_and_grad(lambda first, *rest: function(first, *rest, **options)))
    return lambda: jax.block_until_ready(compiled(*inner))


def _theirs(loss: Callable, batch: int, other: str = "teacher_embeddings") -> Thunk:
    arrays = _arrays(batch)
    return others.step(loss, arrays["embeddings"], arrays[other])


def _theirs_labelled(name: str, batch: int) -> Thunk:
    if name in others.LABELLED:
        loss = others.LABELLED[name]()
    else:
        loss = others.CLASSIFIED[name](CLASSES, DIM)
    return _theirs(loss, batch, "labels")


def _resnet_step(batch: int) -> Thunk:
    """Forward and backward of a ResNet-18 under a softmax loss."""
    from darkrank_jax.models import build_model

    model: Any = build_model("resnet18", stem="small", embedding_dim=DIM)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(batch, 32, 32, 3)), jnp.float32)
    variables = model.init(jax.random.key(0), images[:2], train=False)

    def loss(params: Any) -> jax.Array:
        outputs, _ = model.apply(
            variables | {"params": params}, images, train=True, mutable=["batch_stats"]
        )
        return jnp.square(outputs["embeddings"]).sum()

    compiled = jax.jit(jax.value_and_grad(loss))
    return lambda: jax.block_until_ready(compiled(variables["params"]))


def _peak(name: str, batch: int, who: str) -> float:
    """MiB that a fresh process grows by while it computes value and gradient once."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_grown, name, batch, who).result()


def _grown(name: str, batch: int, who: str) -> float:
    makers = {
        "ours": lambda batch: _ours(name, batch),
        "theirs": lambda batch: _theirs(getattr(others, name), batch),
    }
    makers[who](8)()  # what the library itself takes
    before = _largest_size()
    makers[who](batch)()
    return (_largest_size() - before) / 2**20


def _largest_size() -> float:
    """Bytes; the system counts in KiB, but macOS in bytes."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
