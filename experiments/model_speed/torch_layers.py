"""What bounds the convolutions of ResNet-18 on a CPU: each beside PyTorch's, in GFLOP/s.

    python -m experiments.model_speed.torch_layers [--batch 32] [--rounds 9]

Convolutions forward, as ResNet-18 has them at 96 pixels: ours, XLA's and PyTorch's; and a matrix
product of the same FLOP in both libraries. All in one process, by turns, on all cores.
"""

import argparse
import os
import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

from darkrank_jax.cli.large_pages import TUNABLES

os.environ.setdefault(*TUNABLES)

import jax
import jax.numpy as jnp
import numpy as np
import torch

from darkrank_jax.models.convolution import conv, plain_convolutions
from experiments.refusing import refusing


class Layer(NamedTuple):
    """A convolution: sides and channels of the map, channels out, side of the kernel, stride."""

    side: int
    channels: int
    features: int
    kernel: int
    stride: int

    def flops(self, batch: int) -> float:
        """Of a batch, forward."""
        places = batch * (self.side // self.stride) ** 2
        return 2.0 * places * self.kernel**2 * self.channels * self.features


LAYERS = (
    Layer(96, 3, 64, 7, 2),
    Layer(24, 64, 64, 3, 1),
    Layer(24, 64, 128, 3, 2),
    Layer(12, 128, 128, 3, 1),
    Layer(12, 128, 256, 3, 2),
    Layer(6, 256, 256, 3, 1),
    Layer(6, 256, 512, 3, 2),
    Layer(3, 512, 512, 3, 1),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    heads = ("map", "kernel", "GFLOP", "ours, GFLOP/s", "XLA", "PyTorch", "product in XLA")
    print(f"| {' | '.join(heads)} | in PyTorch |\n|{8 * '---|'}")
    with refusing():
        for layer in LAYERS:
            flops = layer.flops(arguments.batch)
            calls = [*convolutions(layer, arguments.batch), *products(layer, arguments.batch)]
            speeds = (flops / 1e9 / seconds for seconds in by_turns(calls, arguments.rounds))
            shape = f"{layer.side} x {layer.side} x {layer.channels}"
            kernel = f"{layer.kernel} x {layer.kernel}, to {layer.features}, stride {layer.stride}"
            cells = " | ".join(f"{speed:.0f}" for speed in speeds)
            print(f"| {shape} | {kernel} | {flops / 1e9:.2f} | {cells} |", flush=True)


def convolutions(layer: Layer, batch: int) -> list[Callable[[], object]]:
    """The layer here, by XLA's convolution, and in PyTorch (channels last)."""
    shape = (batch, layer.side, layer.side, layer.channels)
    images = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    module = conv(layer.features, layer.kernel, layer.stride, dtype=jnp.float32, name="conv")
    x = jnp.asarray(images)
    variables = module.init(jax.random.key(0), x)
    ours, plain = jax.jit(module.apply), jax.jit(lambda *given: module.apply(*given))
    with plain_convolutions():
        plain(variables, x)
    padding = layer.kernel // 2
    theirs = torch.nn.Conv2d(
        layer.channels, layer.features, layer.kernel, layer.stride, padding, bias=False
    ).to(memory_format=torch.channels_last)
    seen = torch.as_tensor(images).permute(0, 3, 1, 2)
    return [
        lambda: jax.block_until_ready(ours(variables, x)),
        lambda: jax.block_until_ready(plain(variables, x)),
        lambda: _detached(theirs, seen),
    ]


def products(layer: Layer, batch: int) -> list[Callable[[], object]]:
    """The matrix product of all patches and the kernel, here and in PyTorch."""
    rows = batch * (layer.side // layer.stride) ** 2
    inner = layer.kernel**2 * layer.channels
    rng = np.random.default_rng(1)
    left, right = (
        rng.random((rows, inner), np.float32),
        rng.random((inner, layer.features), np.float32),
    )
    multiply = jax.jit(jnp.matmul)
    ours = jnp.asarray(left), jnp.asarray(right)
    theirs = torch.as_tensor(left), torch.as_tensor(right)
    return [
        lambda: jax.block_until_ready(multiply(*ours)),
        lambda: _detached(torch.matmul, *theirs),
    ]


def by_turns(calls: list[Callable[[], object]], rounds: int) -> list[float]:
    """Median seconds of each call, over rounds in which all have a turn, the first not counted."""
    taken = [[_seconds(call) for call in calls] for _ in range(rounds + 1)][1:]
    return [median(each) for each in zip(*taken, strict=True)]


def _seconds(call: Callable[[], object]) -> float:
    """The second of two calls, so that what the other library left in the caches is gone."""
    call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _detached(function: Callable[..., torch.Tensor], *tensors: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return function(*tensors)


if __name__ == "__main__":
    main()
