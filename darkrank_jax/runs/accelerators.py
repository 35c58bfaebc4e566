"""Accelerators as their makers describe them, and XLA's compilers for those that are not there."""

import functools
import importlib.util
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from darkrank_jax.errors import UserError, nearest

_GB = 1e9
_GPUS_OF_A_HOST = 8
# What libtpu would ask the machine for, and complain of where that is no TPU's host; and that
# several processes may compile at a time.
_ENVIRONMENT = {
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


class Compiler(NamedTuple):
    """What compiles for accelerators that are not there.

    Attributes:
      package: what pip installs.
      modules: of which the package brings one.
      since: the first version of JAX that it works with.
    """

    package: str
    modules: tuple[str, ...]
    since: tuple[int, ...]


class Accelerator(NamedTuple):
    """A device as its maker describes it.

    Attributes:
      flops: a second, of dense products in bfloat16.
      bandwidth: of its memory, bytes a second.
      memory: bytes.
      kind: the words with which JAX's name of it begins.
      compiler: that makes its programs.
      topology: number of this accelerator side by side, for the compiler.
    """

    flops: float
    bandwidth: float
    memory: float
    kind: str
    compiler: Compiler
    topology: "Callable[[Accelerator, int], Any]"


def known_accelerator(name: str) -> Accelerator:
    """An accelerator by the name that a command line gives it.

    Args:
      name: in ACCELERATORS.

    Returns:
      The accelerator.

    Raises:
      UserError: the name is unknown; names the nearest.

    Example:
      >>> known_accelerator("tpu_v5e").kind
      'TPU v5 lite'
    """
    if name not in ACCELERATORS:
        raise UserError(f"--accelerator: unknown name {name!r}; {nearest(name, ACCELERATORS)}")
    return ACCELERATORS[name]


def name_of(kind: str) -> str:
    """The name of an accelerator by what JAX calls it; empty for a CPU and for what is unknown.

    Example:
      >>> name_of("NVIDIA H100 80GB HBM3"), name_of("TPU v5"), name_of("NVIDIA L40")
      ('h100', 'tpu_v5p', '')
    """
    known = ((name, each.kind) for name, each in ACCELERATORS.items())
    return next((name for name, words in known if f"{kind} ".startswith(f"{words} ")), "")


def has_compiler(accelerator: Accelerator) -> bool:
    """Whether what compiles for an accelerator in its absence is installed."""
    _, modules, since = accelerator.compiler
    return jax.__version_info__ >= since and any(map(is_installed, modules))


def absent_devices(accelerator: Accelerator, count: int) -> list[Any]:
    """Devices that a program can be compiled for, but not run on.

    Args:
      accelerator: one that `has_compiler`.
      count: how many, side by side.

    Returns:
      The devices, for a mesh.

    Raises:
      UserError: they do not come in such numbers.
    """
    return accelerator.topology(accelerator, count).devices


def is_installed(module: str) -> bool:
    """Whether a module is there; it is not imported."""
    package = module.rpartition(".")[0]
    return (not package or is_installed(package)) and importlib.util.find_spec(module) is not None


def _slice(
    generation: str, axes: int, accelerator: Accelerator, count: int, **options: str
) -> topologies.TopologyDescription:
    """TPUs, as near to a square or a cube as their number allows."""
    exponent = count.bit_length() - 1
    if count != 1 << exponent:
        raise UserError(
            f"--devices: must be a power of two for a slice of {accelerator.kind} (got {count}); "
            f"give {1 << exponent} or {2 << exponent}"
        )
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    sides = [1 << (exponent + place) // axes for place in reversed(range(axes))]
    host = [*(min(side, 2) for side in sides[:2]), 1]
    shape = "x".join(map(str, sides))
    return topologies.get_topology_desc(
        f"{generation}:{shape}", "tpu", chips_per_host_bounds=host, **options
    )


class _Chip(NamedTuple):
    """What XLA asks a GPU for that is there: counts, bytes, gigahertz."""

    capability: tuple[int, int]
    cores: int
    fpus: int
    threads: int
    shared: int
    l2: int
    clock: float


def _hosts(chip: _Chip, accelerator: Accelerator, count: int) -> topologies.TopologyDescription:
    """GPUs in hosts of eight, or fewer in one."""
    own = min(count, _GPUS_OF_A_HOST)
    if count % own:
        raise UserError(
            f"--devices: must be a multiple of {own}, a host's {accelerator.kind} (got {count})"
        )
    major, minor = chip.capability
    config = f"""
        gpu_device_info {{
          cuda_compute_capability {{ major: {major} minor: {minor} }}
          core_count: {chip.cores} fpus_per_core: {chip.fpus} clock_rate_ghz: {chip.clock}
          threads_per_core_limit: {chip.threads} threads_per_block_limit: 1024 threads_per_warp: 32
          block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
          registers_per_core_limit: 65536 registers_per_block_limit: 65536
          shared_memory_per_core: {chip.shared} shared_memory_per_block: 49152
          shared_memory_per_block_optin: {chip.shared - 1024} l2_cache_size: {chip.l2}
          memory_bandwidth: {accelerator.bandwidth:.0f} device_memory_size: {accelerator.memory:.0f}
        }}
        platform_name: "CUDA" device_description_str: "{accelerator.kind}"
        dnn_version_info {{ major: 9 minor: 8 }}
        runtime_version {{ major: 12 minor: 9 }}"""
    shape = f"1x{count // own}x{own}"
    return topologies.get_topology_desc("", "cuda", target_config=config, topology=shape)


_CUDA = Compiler('"jax[cuda13]"', ("jax_plugins.xla_cuda13", "jax_plugins.xla_cuda12"), (0, 10))
_TPU = Compiler('"jax[tpu]"', ("libtpu",), (0, 8))
_A100 = functools.partial(_hosts, _Chip((8, 0), 108, 64, 2048, 164 << 10, 40 << 20, 1.41))
_H100 = functools.partial(_hosts, _Chip((9, 0), 132, 128, 2048, 228 << 10, 50 << 20, 1.98))
_L4 = functools.partial(_hosts, _Chip((8, 9), 58, 128, 1536, 100 << 10, 48 << 20, 2.04))
_V4 = functools.partial(_slice, "v4", 3, chip_config_name="megacore")
_V5E, _V6E = (functools.partial(_slice, generation, 2) for generation in ("v5e", "v6e"))
_V5P = functools.partial(_slice, "v5p", 3)

ACCELERATORS: dict[str, Accelerator] = {
    "a100": Accelerator(312e12, 2.04e12, 80 * _GB, "NVIDIA A100-SXM4-80GB", _CUDA, _A100),
    "a100_40gb": Accelerator(312e12, 1.56e12, 40 * _GB, "NVIDIA A100-SXM4-40GB", _CUDA, _A100),
    "h100": Accelerator(989e12, 3.35e12, 80 * _GB, "NVIDIA H100", _CUDA, _H100),
    "h200": Accelerator(989e12, 4.8e12, 141 * _GB, "NVIDIA H200", _CUDA, _H100),
    "l4": Accelerator(121e12, 0.3e12, 24 * _GB, "NVIDIA L4", _CUDA, _L4),
    "tpu_v4": Accelerator(275e12, 1.23e12, 32 * _GB, "TPU v4", _TPU, _V4),
    "tpu_v5e": Accelerator(197e12, 0.82e12, 16 * _GB, "TPU v5 lite", _TPU, _V5E),
    # After the one above, whose name begins with this one's.
    "tpu_v5p": Accelerator(459e12, 2.77e12, 95 * _GB, "TPU v5", _TPU, _V5P),
    "tpu_v6e": Accelerator(918e12, 1.64e12, 32 * _GB, "TPU v6", _TPU, _V6E),
}
