"""What a run would take on some devices, by the program that XLA makes of its step; none is run."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from darkrank_jax.errors import UserError, nearest
from darkrank_jax.models import compute_dtype
from darkrank_jax.training.mesh import by_rows, make_mesh, replicated
from darkrank_jax.training.network import (
    Embedder,
    Network,
    build,
    compile_step,
    make_ensemble,
    wanted_arrays,
)
from darkrank_jax.training.preflight import check_sizes, load_data, teacher_shapes
from darkrank_jax.training.run_config import Run

_GB = 1e9
# Assumed: what a training step reaches of a device's peak, and what is left of its memory for
# evaluation, the next batch and the runtime.
UTILISATION = 0.4
USABLE = 0.9


class Accelerator(NamedTuple):
    """A device as its maker describes it.

    Attributes:
      flops: a second, of dense products in bfloat16.
      bandwidth: of its memory, bytes a second.
      memory: bytes.
      kind: how JAX's name of it begins.
    """

    flops: float
    bandwidth: float
    memory: float
    kind: str


ACCELERATORS: dict[str, Accelerator] = {
    "a100": Accelerator(312e12, 2.04e12, 80 * _GB, "NVIDIA A100-SXM4-80GB"),
    "a100_40gb": Accelerator(312e12, 1.56e12, 40 * _GB, "NVIDIA A100-SXM4-40GB"),
    "h100": Accelerator(989e12, 3.35e12, 80 * _GB, "NVIDIA H100"),
    "h200": Accelerator(989e12, 4.8e12, 141 * _GB, "NVIDIA H200"),
    "l4": Accelerator(121e12, 0.3e12, 24 * _GB, "NVIDIA L4"),
    "tpu_v4": Accelerator(275e12, 1.23e12, 32 * _GB, "TPU v4"),
    "tpu_v5e": Accelerator(197e12, 0.82e12, 16 * _GB, "TPU v5 lite"),
    "tpu_v5p": Accelerator(459e12, 2.77e12, 95 * _GB, "TPU v5p"),
    "tpu_v6e": Accelerator(918e12, 1.64e12, 32 * _GB, "TPU v6"),
}


class Plan(NamedTuple):
    """What a step of a run takes.

    Attributes:
      parameters: of the network that is trained.
      flops: of a step, over all devices; what is computed twice counts twice.
      state: bytes on each device of parameters, optimizer and the teacher.
      batch: bytes on each device of images and labels.
      temporary: bytes on each device of activations, gradients and relations, at their peak.
      traffic: bytes that a device reads and writes in a step, as XLA counts them.
    """

    parameters: int
    flops: float
    state: int
    batch: int
    temporary: int
    traffic: float

    @property
    def memory(self) -> int:
        """Bytes on each device."""
        return self.state + self.batch + self.temporary

    def seconds(self, accelerator: Accelerator, devices: int) -> tuple[float, float]:
        """A step's at least, by computing alone, and at most, where it waits for memory."""
        computing = self.flops / devices / (UTILISATION * accelerator.flops)
        return computing, max(computing, self.traffic / accelerator.bandwidth)


def plan(
    run: Run,
    workdir: Path,
    *,
    devices: int = 0,
    accelerator: str = "",
    memory: int = 0,
) -> None:
    """Prints what a step of a run takes, and refuses a run that does not fit.

    Args:
      run: read from a config.
      workdir: is not written to; modes have it.
      devices: how many; more than there are, are simulated on the CPU. 0: those that there are.
      accelerator: of ACCELERATORS, that they are taken for; empty: what they are.
      memory: of each in GB; 0: what the accelerator has.

    Raises:
      UserError: the step does not fit in memory; an unknown accelerator; from the config.
    """
    del workdir
    mesh = make_mesh(run.data.batch_size, _devices(devices))
    name, device = _accelerator(accelerator, mesh.devices.flat[0])
    if name:
        run = _computing_in("bfloat16", run)
    check_sizes(run)
    found = plan_step(run, mesh)
    print(_described(run, found, mesh, name, device))
    limit = memory * _GB or (device.memory if device else 0)
    if limit and found.memory > USABLE * limit:
        raise UserError(
            f"plan: a device needs {found.memory / _GB:.1f} GB, and {USABLE:.0%} of its "
            f"{limit / _GB:.0f} GB are for the step; raise chunks, set remat to True, lower "
            "data.batch_size, or give more --devices"
        )


def plan_step(run: Run, mesh: Mesh) -> Plan:
    """Compiles the train step of a run for shapes alone.

    Args:
      run: read from a config; its data is loaded, for its sizes.
      mesh: the devices.

    Returns:
      What the compiled program takes on each of them.
    """
    step, arguments = _step(run, mesh)
    compiled = step.lower(*arguments).compile()
    memory: Any = compiled.memory_analysis()
    state, batch, teacher, _ = arguments
    state_bytes, batch_bytes = _bytes((state, teacher)), _bytes(batch) // mesh.size
    # The new state takes the place of the old one, which is donated.
    temporary = memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Plan(
        parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params["model"])),
        flops=_flops(run, mesh),
        state=state_bytes,
        batch=batch_bytes,
        temporary=temporary,
        # XLA counts what is in a loop once.
        traffic=_cost(compiled, "bytes accessed") * run.chunks,
    )


def _step(run: Run, mesh: Mesh) -> tuple[Any, tuple[Any, Any, Any, Any]]:
    """The step under jit, and the shapes of its arguments as they lie on the devices."""
    data, whole = run.data, replicated(mesh)
    train = load_data(data)["train"]
    sizes = {"channels": train.images.shape[-1], "num_classes": len(train.class_names)}
    model, optimizer, initial_state = build(run, **sizes)
    teacher = _abstract(run.teacher) if run.teacher and not run.teacher.embeddings else None
    rows: dict[str, Any] = {
        "images": jax.ShapeDtypeStruct((data.batch_size, *train.images.shape[1:]), jnp.uint8),
        "labels": jax.ShapeDtypeStruct((data.batch_size,), jnp.int32),
        "teacher": {},
    }
    if run.teacher and (run.teacher.embeddings or run.store_teacher):
        said = {f"teacher_{k}": v for k, v in teacher_shapes(run.teacher, data).items()}
        rows["teacher"] = {k: v for k, v in said.items() if k in wanted_arrays(run)}
    variables = {} if teacher is None or run.store_teacher else teacher.variables
    key = jax.eval_shape(lambda: jax.random.key(0))
    state, variables, key = _laid((jax.eval_shape(initial_state), variables, key), whole)
    step = compile_step(run, model, optimizer, teacher)
    return step, (state, _laid(rows, by_rows(mesh)), variables, key)


def _flops(run: Run, mesh: Mesh) -> float:
    """Of a step: of the plain one, since XLA counts a loop's body once, and what is repeated."""
    step, arguments = _step(dataclasses.replace(run, chunks=1, remat=False), mesh)
    state, batch, _, _ = arguments
    total, again = _cost(step.lower(*arguments), "flops"), (run.chunks > 1) + run.remat
    if again:
        forward = jax.jit(_abstract(run).embed_step())
        total += again * _cost(forward.lower(state.evaluated, batch["images"]), "flops")
    return total


def _cost(program: Any, of: str) -> float:
    """What XLA counts in a lowered or compiled program."""
    return program.cost_analysis()[of]


def _abstract(run: Run) -> Embedder:
    """A network whose variables are shapes alone."""
    if run.ensemble:
        members = {name: _abstract(member) for name, member in run.ensemble.items()}
        return make_ensemble(run, members, Path())
    train = load_data(run.data)["train"]
    channels = train.images.shape[-1]
    model, _, initial_state = build(run, channels=channels, num_classes=len(train.class_names))
    state = jax.eval_shape(initial_state)
    return Network(run, model, state.evaluated, 0, 0.0, Path(), channels)


def _laid(tree: Any, sharding: NamedSharding) -> Any:
    """Shapes that know where they lie."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


def _bytes(tree: Any) -> int:
    """Of all arrays of a tree."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _devices(count: int) -> list[Any]:
    """So many devices, of the CPU where there are fewer others."""
    if not count:
        return jax.devices()
    # Where JAX has begun already, it has as many as it has.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", count)
    for found in (jax.devices(), jax.devices("cpu")):
        if len(found) >= count:
            return found[:count]
    raise UserError(f"--devices: is {count}, and JAX began with {len(found)}; start it anew")


def _accelerator(name: str, device: Any) -> tuple[str, Accelerator | None]:
    """What devices are taken for, by name or by what they are; ("", None) for a CPU."""
    if name and name not in ACCELERATORS:
        raise UserError(f"--accelerator: unknown name {name!r}; {nearest(name, ACCELERATORS)}")
    kind = device.device_kind
    same = (known for known, each in ACCELERATORS.items() if kind.startswith(each.kind))
    name = name or next(same, "")
    return name, ACCELERATORS.get(name)


def _computing_in(dtype: str, run: Run) -> Run:
    """A run and its teachers, with the type that "auto" has on an accelerator."""
    model = run.model | ({"dtype": dtype} if run.model.get("dtype") == "auto" else {})
    return dataclasses.replace(
        run,
        model=model,
        teacher=run.teacher and _computing_in(dtype, run.teacher),
        ensemble={name: _computing_in(dtype, each) for name, each in run.ensemble.items()},
    )


def _described(run: Run, found: Plan, mesh: Mesh, name: str, device: Accelerator | None) -> str:
    """The plan as lines."""
    compiled_for = mesh.devices.flat[0].device_kind
    dtype = compute_dtype(run.model.get("dtype", "float32")).__name__
    chunks = f" in {run.chunks} chunks" if run.chunks > 1 else ""
    parts = {"state": found.state, "batch": found.batch, "temporary": found.temporary}
    listed = ", ".join(f"{part} {size / _GB:.3f}" for part, size in parts.items())
    lines = {
        "devices": f"{mesh.size} x {name or compiled_for}; compiled for {compiled_for}",
        "batch": f"{run.data.batch_size:,} images{chunks}, {dtype}",
        "parameters": f"{found.parameters:,}",
        "memory": f"{found.memory / _GB:.3f} GB a device: {listed}",
        "compute": f"{found.flops:.3g} FLOP a step, {found.flops / mesh.size:.3g} a device",
        "traffic": f"{found.traffic / _GB:.3f} GB a step and device",
    }
    if device is not None:
        low, high = found.seconds(device, mesh.size)
        images = run.data.batch_size
        lines["time"] = (
            f"{1e3 * low:.1f} to {1e3 * high:.1f} ms a step, {images / high:,.0f} to "
            f"{images / low:,.0f} images/s, {run.steps * low / 3600:.2f} to "
            f"{run.steps * high / 3600:.2f} h for {run.steps:,} steps"
        )
        lines["assumed"] = (
            f"{UTILISATION:.0%} of {device.flops / 1e12:.0f} TFLOP/s, "
            f"{device.bandwidth / 1e12:.2f} TB/s, no wait for data or other devices"
        )
    return "\n".join(f"{title:<10} {line}" for title, line in lines.items())
