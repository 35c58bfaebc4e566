"""Digits of float32 gradients on close pairs, and the price of distances from differences.

    python -m experiments.loss_speed.digits [--only digits price] [--dims DIM ...] [--largest BATCH]

"product" is |x|^2 + |y|^2 - 2 <x, y> about the mean of the rows, "differences" is what the package
computes. Digits: unit vectors, four a class, some gap apart, class weights as near; the error is
the norm of gradient(float32) - gradient(float64) over that of gradient(float64). Price: value and
gradient, compiled; the two forms take turns in one process, and the ratio is that of the medians.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from darkrank_jax.losses import LOSSES, pairwise
from experiments.loss_speed import batch as batches

GAPS = (0.001, 0.01)
BATCHES = (128, 512, 2048)
TURNS = 5
# Angles last: with batch^3 steps they take the longest.
TIMED = ("rkd_distance", "contrastive", "triplet", "darkrank_soft", "rkd_angle")
# Options under which close pairs have a gradient, or a loss goes through distances.
OPTIONS: dict[str, dict[str, Any]] = {
    "contrastive": {"neg_margin": 1.6},
    "correlation_congruence": {"kernel": "gaussian"},
    "darkrank_hard": {"list_size": 12, "beta": 1.0},
    "darkrank_soft": {"list_size": 12, "beta": 1.0},
    "lmnn": {"margin": 3.0},
    "margin": {"beta": 0.0},
    "triplet": {"margin": 2.0},
}


def product(x: jax.Array, y: jax.Array | None) -> jax.Array:
    """Squared distances by inner products; below their rounding error 0."""
    y = x if y is None else y
    centre = jax.lax.stop_gradient(y.mean(0, keepdims=True))
    x, y = x - centre, y - centre
    lengths = jnp.square(x).sum(-1)[:, None] + jnp.square(y).sum(-1)[None, :]
    squares = lengths - 2 * pairwise.inner_products(x, y)
    return jnp.where(squares <= 8 * jnp.finfo(squares.dtype).eps * lengths, 0, squares)


FORMS: dict[str, Callable[..., jax.Array]] = {
    "product": product,
    "differences": pairwise._squares,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some tables")
    parser.add_argument("--dims", nargs="+", type=int, default=[32, 128, 512], help="of digits")
    parser.add_argument("--largest", type=int, default=BATCHES[-1], help="largest batch of price")
    arguments = parser.parse_args()
    for part in arguments.only:
        for index, row in enumerate(PARTS[part](arguments)):
            print(f"| {' | '.join(row)} |", flush=True)
            if not index:
                print(f"|{'---|' * len(row)}", flush=True)
        print()


def _digits(arguments: argparse.Namespace) -> Iterator[list[str]]:
    """Relative errors of each loss by form, the largest over all dims."""
    yield ["loss", *(f"{form}, {gap}" for gap in GAPS for form in FORMS)]
    for name, (function, inputs) in LOSSES.items():
        errors = {(form, gap): 0.0 for gap in GAPS for form in FORMS}
        for form, dim in ((form, dim) for form in FORMS for dim in arguments.dims):
            with mock.patch.object(pairwise, "_squares", FORMS[form]):
                # A function of its own for each form, or jit finds the other's program.
                slope = jax.jit(jax.grad(_with_options(name, function)))
                for gap in GAPS:
                    arrays = [_tight(dim, gap)[key] for key in inputs]
                    error = _error(slope, arrays)
                    errors[form, gap] = max(errors[form, gap], error)
        yield [name, *(f"{error:.1e}" for error in errors.values())]


def _error(slope: Callable[..., jax.Array], arrays: list[np.ndarray]) -> float:
    """Of the gradient in float32."""
    found = np.asarray(slope(*map(jnp.asarray, arrays)), float)
    # Float64 differences have digits to spare.
    with jax.enable_x64(True):
        wide = [a.astype(float) if a.dtype.kind == "f" else a for a in arrays]
        exact = np.asarray(slope(*map(jnp.asarray, wide)))
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def _price(arguments: argparse.Namespace) -> Iterator[list[str]]:
    """Time of each loss by form."""
    yield ["loss", "batch", *(f"{form}, ms" for form in FORMS), "times as long"]
    for name in TIMED:
        function, inputs = LOSSES[name]
        for batch in (batch for batch in BATCHES if batch <= arguments.largest):
            arrays = [jnp.asarray(batches.arrays(batch)[key]) for key in inputs]
            programs = {}
            for form, squares in FORMS.items():
                with mock.patch.object(pairwise, "_squares", squares):
                    loss = jax.jit(jax.value_and_grad(_with_options(name, function)))
                    programs[form] = loss.lower(*arrays).compile()
            taken: dict[str, list[float]] = {form: [] for form in FORMS}
            for form in list(FORMS) * (TURNS + 1):
                start = time.perf_counter()
                jax.block_until_ready(programs[form](*arrays))
                taken[form].append(1e3 * (time.perf_counter() - start))
            times = [median(each[1:]) for each in taken.values()]
            yield [name, str(batch), *(f"{ms:.2f}" for ms in times), f"{times[1] / times[0]:.1f}"]


def _with_options(name: str, function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """A loss as a function of its arrays."""
    options = OPTIONS.get(name, {})
    return lambda *arrays: function(*arrays, **options)


def _tight(dim: int, gap: float) -> dict[str, np.ndarray]:
    """What the losses take: eight classes of four, class weights as near as the rows are."""
    rng = np.random.default_rng(dim)
    centres = _unit(rng.normal(size=(8, dim)))
    student, teacher = (
        _unit(np.repeat(centres, 4, 0) + gap / 2**0.5 * _unit(rng.normal(size=(32, dim))))
        for centres in (centres, _unit(rng.normal(size=(8, dim))))
    )
    weights = _unit(centres + gap * _unit(rng.normal(size=centres.shape))).T
    arrays = {"class_weights": weights}
    for kind, shape in {
        "embeddings": (32, dim), "features": (32, dim), "logits": (32, dim),
        "maps": (32, 2, 2, dim // 4),
    }.items():  # fmt: skip
        arrays |= {kind: student.reshape(shape), f"teacher_{kind}": teacher.reshape(shape)}
    found = {name: array.astype(np.float32) for name, array in arrays.items()}
    return found | {"labels": np.repeat(np.arange(8, dtype=np.int32), 4)}


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


PARTS = {"digits": _digits, "price": _price}

if __name__ == "__main__":
    main()
