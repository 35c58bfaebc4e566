"""Our gradient of the 3x3 maximum beside XLA's, on a CPU; README.md has the table.

python -m experiments.step_anatomy.maximum
"""

import functools
import time
from collections.abc import Callable
from statistics import median

import jax

from darkrank_jax.models import layers

SHAPES = ((32, 32, 32, 64), (32, 112, 112, 64), (128, 16, 16, 16), (64, 24, 24, 8))
_PADDING, _STRIDE = ((1, 1), (1, 1)), 2


def main() -> None:
    jax.config.update("jax_platforms", "cpu")
    print("| map | ours, ms | XLA's, ms | ratio |\n|---|---|---|---|")
    for shape in SHAPES:
        keys = jax.random.split(jax.random.key(0))
        x = jax.random.normal(keys[0], shape)
        maximum = functools.partial(layers._xla_max_pool, _PADDING, _STRIDE)
        cotangent = jax.random.normal(keys[1], jax.eval_shape(maximum, x).shape)
        ours = functools.partial(layers._first_maxima_gradient, _PADDING, _STRIDE)
        theirs = functools.partial(_gradient, maximum)
        times = [milliseconds(jax.jit(each), x, cotangent) for each in (ours, theirs)]
        name = "x".join(map(str, shape))
        print(f"| {name} | {times[0]:.1f} | {times[1]:.1f} | {times[1] / times[0]:.1f} |")


def _gradient(function: Callable, x: jax.Array, cotangent: jax.Array) -> jax.Array:
    return jax.vjp(function, x)[1](cotangent)[0]


def milliseconds(function: Callable, *arguments: jax.Array, repetitions: int = 11) -> float:
    """The median of some calls after the first."""
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(1e3 * (time.perf_counter() - start))
    return median(times)


if __name__ == "__main__":
    main()
