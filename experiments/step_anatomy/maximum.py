"""Our gradient of the 3x3 maximum beside XLA's; README.md has the tables.

    python -m experiments.step_anatomy.maximum                   # times on a CPU
    python -m experiments.step_anatomy.maximum --accelerator h100

An accelerator need not be there, only its compiler (pip install "jax[cuda13]"): temporary memory.
"""

import argparse
import functools
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax.sharding import SingleDeviceSharding

from darkrank_jax.models.pooling import centred, max_pool
from darkrank_jax.runs.accelerators import ACCELERATORS, absent_devices

SHAPES = ((32, 32, 32, 64), (32, 112, 112, 64), (128, 16, 16, 16), (64, 24, 24, 8))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--accelerator", choices=list(ACCELERATORS))
    accelerator = parser.parse_args().accelerator
    jax.config.update("jax_platforms", "cpu")
    unit, measure = "ms", milliseconds
    if accelerator:
        (device,) = absent_devices(ACCELERATORS[accelerator], 1)
        unit, measure = "MB", functools.partial(megabytes, SingleDeviceSharding(device))
    print(f"| map | ours, {unit} | XLA's, {unit} | ratio |\n|---|---|---|---|")
    for shape in SHAPES:
        keys = jax.random.split(jax.random.key(0))
        x = jax.random.normal(keys[0], shape)
        cotangent = jax.random.normal(keys[1], jax.eval_shape(_ours, x).shape)
        gradients = [jax.jit(functools.partial(_gradient, each)) for each in (_ours, _theirs)]
        found = [measure(gradient, x, cotangent) for gradient in gradients]
        name = "x".join(map(str, shape))
        print(f"| {name} | {found[0]:.1f} | {found[1]:.1f} | {found[1] / found[0]:.1f} |")


def megabytes(sharding: SingleDeviceSharding, function: Any, *arguments: jax.Array) -> float:
    """Temporary memory of a program for a device that need not be there, in bfloat16."""
    shapes = [jax.ShapeDtypeStruct(x.shape, jnp.bfloat16, sharding=sharding) for x in arguments]
    return function.lower(*shapes).compile().memory_analysis().temp_size_in_bytes / 1e6


def _ours(x: jax.Array) -> jax.Array:
    return max_pool(x, centred)


def _theirs(x: jax.Array) -> jax.Array:
    return linen.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))  # pyright: ignore


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
