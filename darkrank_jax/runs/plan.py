"""What a run would take on some devices, by the program that XLA makes of its step; none is run."""

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from darkrank_jax.config.run import Run
from darkrank_jax.distributed.mesh import by_rows, make_mesh, replicated
from darkrank_jax.errors import UserError
from darkrank_jax.models import compute_dtype
from darkrank_jax.runs.accelerators import (
    Accelerator,
    absent_devices,
    has_compiler,
    known_accelerator,
    name_of,
)
from darkrank_jax.runs.preflight import check_sizes
from darkrank_jax.runs.program import operations
from darkrank_jax.runs.shapes import abstract_teacher, arrays_of
from darkrank_jax.runs.splits import Splits, in_steps
from darkrank_jax.training.batches import Batches
from darkrank_jax.training.compiled import compile_step
from darkrank_jax.training.network import Embedder, Network, build
from darkrank_jax.training.teacher.embeddings import TeacherEmbeddings

_GB = 1e9
# Assumed: what a training step reaches of a device's peak, and what is left of its memory for
# evaluation, the next batch and the runtime.
UTILISATION = 0.4
USABLE = 0.9
Teacher = Embedder | TeacherEmbeddings | None
_UNITS = {"h": 3600, "min": 60, "s": 1}
_REMEDY = "raise chunks, set remat to True, lower data.batch_size, or give more --devices"


class Plan(NamedTuple):
    """What a step of a run takes.

    Attributes:
      parameters: of the network that is trained.
      flops: of a step, over all devices; what is computed twice counts twice.
      state: bytes on each device of parameters, optimizer and the teacher.
      batch: bytes on each device of images and labels.
      temporary: bytes on each device of activations, gradients and relations, at their peak, of
        the program itself, and of what the arrays above take more than they hold.
      traffic: bytes that a device reads and writes in a step.
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
        """A step's at least, of computing alone, and at most, which first moves and then computes.

        An H100 takes the most, 22.5 ms for the step of experiments/step_anatomy.
        """
        computing = self.flops / devices / (UTILISATION * accelerator.flops)
        return computing, computing + self.traffic / accelerator.bandwidth


def plan(
    run: Run,
    workdir: Path,
    *,
    devices: int = 0,
    accelerator: str = "",
    memory: int = 0,
) -> None:
    """Prints what a step of each network of a run takes, and refuses a run that does not fit.

    Args:
      run: read from a config.
      workdir: is not written to; modes have it.
      devices: number of devices to plan for, which this machine need not have; 0: the devices of
        this machine, or 1 if an accelerator is given.
      accelerator: kind of the devices, such as h100 or tpu_v5e; empty: the kind of this machine.
        The step is compiled for it if XLA's compiler for it is installed, and otherwise for CPUs.
      memory: memory of each device in GB; 0: that of the accelerator.

    Raises:
      UserError: a step does not fit in memory; an unknown accelerator; from the config.
    """
    del workdir
    known = known_accelerator(accelerator) if accelerator else None
    _check_count(devices, [part.data.batch_size for _, part, _ in run.trained_networks()])
    found = _devices(devices, known)
    name = accelerator or name_of(found[0].device_kind)
    device = known_accelerator(name) if name else None
    if name:
        run = run.computing_in("bfloat16")
    splits = Splits()
    run = in_steps(run, splits)
    networks = check_sizes(run, splits)
    limit = memory * _GB or (device.memory if device else 0)
    beyond = {}
    for place, (called, part, prefix) in enumerate(run.trained_networks()):
        mesh = make_mesh(part.data.batch_size, found)
        train, teacher = splits[part.data]["train"], None
        if part.teacher:
            teacher = abstract_teacher(part.teacher_file, train, networks, prefix)
        network = networks[prefix]
        assert isinstance(network, Network)
        taken = plan_step(network._replace(run=part), teacher, splits, mesh)
        size, images = part.data.batch_size, f"{part.data.batch_size:,} images"
        chunks = f" in {part.chunks} chunks" if part.chunks > 1 else ""
        dtype = compute_dtype(part.model.get("dtype", "float32")).__name__
        lines = _described(taken, mesh, name, device, f"{images}{chunks}, {dtype}")
        if part.store_teacher:
            outputs = arrays_of(teacher, size, splits).items()
            stored = [array for name, array in outputs if f"teacher_{name}" in part.loss_inputs]
            batches = Batches(train, part.data, part.data.sampler, part.seed, part.steps, train)
            lines["cache"] = stored_outputs(stored, batches, part.store_dtype)
        if device is not None:
            lines |= _timed(taken.seconds(device, mesh.size), size, part.steps, device)
        lines = "\n".join(f"{title:<10} {line}" for title, line in lines.items())
        print("\n" * bool(place) + f"network    {called}\n{lines}", flush=True)
        if limit and taken.memory > USABLE * limit:
            beyond[called] = taken.memory
    if beyond:
        listed = ", ".join(f"{size / _GB:.1f} GB for the {who}" for who, size in beyond.items())
        raise UserError(
            f"plan: a device needs {listed}, and {USABLE:.0%} of its {limit / _GB:.0f} GB are for "
            f"the step; {_REMEDY}"
        )


def plan_step(network: Network, teacher: Teacher, splits: Splits, mesh: Mesh) -> Plan:
    """Compiles the train step of a network for shapes alone.

    Args:
      network: of `check_sizes`, with the run that trains it.
      teacher: of `abstract_teacher`.
      splits: of their data, for their sizes.
      mesh: the devices.

    Returns:
      What the compiled program takes on each of them.

    Raises:
      UserError: XLA's compiler itself finds that the program does not fit.
    """
    run = network.run
    step, arguments = abstract_step(network, teacher, splits, mesh)
    compiled = compile_lowered(step.lower(*arguments))
    memory: Any = compiled.memory_analysis()
    state, batch, variables, _ = arguments
    state_bytes, batch_bytes = _bytes((state, variables)), _bytes(batch) // mesh.size
    # The new state takes the place of the old one, which is donated. Arrays may lie padded.
    padding = max(0, memory.argument_size_in_bytes - state_bytes - batch_bytes)
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    # As lowered for a CPU, of whose programs alone XLA counts FLOP before they are compiled.
    one = make_mesh(run.data.batch_size, _cpus(1))
    whole = network._replace(run=dataclasses.replace(run, chunks=1, remat=False))
    plain = abstract_step(whole, teacher, splits, one)
    forward = jax.jit(network.embed_step())
    temporary = memory.temp_size_in_bytes + memory.generated_code_size_in_bytes
    return Plan(
        parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params["model"])),
        flops=_flops(*plain, forward, (run.chunks > 1) + run.remat),
        state=state_bytes,
        batch=batch_bytes,
        temporary=temporary + results + padding,
        traffic=traffic_of(compiled, mesh.devices.flat[0].platform, run.chunks),
    )


def compile_lowered(lowered: Any) -> Any:
    """A program, compiled; some compilers refuse what does not fit."""
    try:
        return lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        code, _, said = str(error).partition(": ")
        if code != "RESOURCE_EXHAUSTED":
            raise
        raise UserError(f"plan: XLA says: {said.splitlines()[0].rstrip('.')}; {_REMEDY}") from error


def traffic_of(compiled: Any, platform: str, chunks: int) -> float:
    """Bytes that a program moves on a device."""
    cost = compiled.cost_analysis()
    # Of programs for GPUs that are not there XLA does not count them.
    if cost is None:
        return float(sum(each.times * each.bytes for each in operations(compiled.as_text())))
    # XLA counts what is in a loop once, but in programs for TPUs as often as it runs.
    times = 1 if platform == "tpu" else chunks
    return cost["bytes accessed"] * times


def abstract_step(
    network: Network, teacher: Teacher, splits: Splits, mesh: Mesh
) -> tuple[Any, tuple[Any, Any, Any, Any]]:
    """The step of a network under jit, and the shapes of its arguments as they lie on the devices.

    Args:
      network: see `plan_step`.
      teacher: see there.
      splits: see there.
      mesh: the devices; they need not be there.

    Returns:
      step, and of its state, batch, teacher's variables and random key, so that
      `step.lower(*shapes)` can be compiled.
    """
    run, whole, stored = network.run, replicated(mesh), {}
    data, train = run.data, splits[run.data]["train"]
    model, optimizer, initial_state = build(
        run, channels=network.channels, num_classes=len(train.class_names)
    )
    if isinstance(teacher, TeacherEmbeddings) or run.store_teacher:
        arrays = arrays_of(teacher, data.batch_size, splits)
        named = {f"teacher_{name}": array for name, array in arrays.items()}
        stored = {name: array for name, array in named.items() if name in run.loss_inputs}
        teacher = None
    rows: dict[str, Any] = {
        "images": jax.ShapeDtypeStruct((data.batch_size, *train.images.shape[1:]), jnp.uint8),
        "labels": jax.ShapeDtypeStruct((data.batch_size,), jnp.int32),
        "teacher": stored,
    }
    if teacher and teacher.image_shape != train.images.shape[1:]:
        shape = (data.batch_size, *teacher.image_shape)
        rows["teacher_images"] = jax.ShapeDtypeStruct(shape, jnp.uint8)
    variables = teacher.variables if teacher else {}
    key = jax.eval_shape(lambda: jax.random.key(0))
    state, variables, key = _laid((jax.eval_shape(initial_state), variables, key), whole)
    step = compile_step(run, model, optimizer, teacher)
    return step, (state, _laid(rows, by_rows(mesh)), variables, key)


def _flops(step: Any, arguments: tuple[Any, Any, Any, Any], forward: Any, again: int) -> float:
    """Of a step: of the plain one, since XLA counts a loop's body once, and of what it repeats."""
    state, batch, _, _ = arguments
    programs = [step.lower(*arguments)]
    programs += again * [forward.lower(state.evaluated, batch["images"])]
    return sum(program.cost_analysis()["flops"] for program in programs)


def _laid(tree: Any, sharding: NamedSharding) -> Any:
    """Shapes that know where they lie."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


def _bytes(tree: Any) -> int:
    """Of all arrays of a tree."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _check_count(devices: int, sizes: Iterable[int]) -> None:
    """Refuses devices that cannot share a batch, before any of them is simulated."""
    for size in sizes:
        if devices and size % devices:
            raise UserError(
                f"--devices: must divide a batch of {size} images (got {devices}); give another "
                "number, or change data.batch_size"
            )


def _devices(count: int, accelerator: Accelerator | None) -> Sequence[Any]:
    """Devices of an accelerator, or those that are there; simulated where there are fewer."""
    if accelerator is None and not count:
        return jax.devices()
    if accelerator is not None:
        # Plugins complain of what is not there, unless nobody wants to run on it.
        jax.config.update("jax_platforms", "cpu")
    count = count or 1
    # Where JAX has begun already, it has as many as it has.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", count)
    if accelerator is not None and has_compiler(accelerator):
        # What is compiled for absent devices can be kept, but not be read again.
        jax.config.update("jax_enable_compilation_cache", False)
        return absent_devices(accelerator, count)
    there = jax.devices()
    return there[:count] if len(there) >= count else _cpus(count)


def _cpus(count: int) -> Sequence[Any]:
    """The given number of CPUs, which `_devices` has simulated."""
    found = jax.devices("cpu")
    if len(found) < count:
        raise UserError(
            f"--devices: must be at most {len(found)}, with which JAX began (got {count}); start "
            "again"
        )
    return found[:count]


def _described(
    found: Plan, mesh: Mesh, name: str, device: Accelerator | None, batch: str
) -> dict[str, str]:
    """The plan as lines by title."""
    compiled_for = mesh.devices.flat[0].device_kind
    program = f"compiled for {compiled_for}"
    if device is not None and not compiled_for.startswith(device.kind):
        program += f"; pip install -U {device.compiler.package} to compile for {name}"
    parts = {"state": found.state, "batch": found.batch, "temporary": found.temporary}
    listed = ", ".join(f"{part} {size / _GB:.3f}" for part, size in parts.items())
    return {
        "devices": f"{mesh.size} x {name or compiled_for}",
        "program": program,
        "batch": batch,
        "parameters": f"{found.parameters:,}",
        "memory": f"{found.memory / _GB:.3f} GB a device: {listed}",
        "compute": f"{found.flops:.3g} FLOP a step, {found.flops / mesh.size:.3g} a device",
        "traffic": f"{found.traffic / _GB:.3f} GB a step and device",
    }


def stored_outputs(arrays: Iterable[jax.ShapeDtypeStruct], batches: Batches, dtype: str) -> str:
    """What the stored outputs of a teacher take on disk, and what they save, in a line.

    Args:
      arrays: of the teacher for a batch, those that are stored.
      batches: of the student.
      dtype: of the numbers on disk.
    """
    seen, numbers = batches.num_stored(), sum(array.size for array in arrays)
    size = seen * numbers * np.dtype(dtype).itemsize
    shared = "dataset" if batches.data.views else "dataset and seed"
    return (
        f"{size / 1e6:,.1f} MB of {dtype} on disk; the teacher runs on {seen:,} batches once for "
        f"all students of its {shared}, in place of {batches.steps:,} for each"
    )


def _timed(
    seconds: tuple[float, float], images: int, steps: int, device: Accelerator
) -> dict[str, str]:
    """A step's time, at least and at most, as lines by title."""
    low, high = seconds
    return {
        "time": (
            f"{_span(1e3 * low, 1e3 * high)} ms a step, {_span(images / high, images / low)} "
            f"images/s, {duration_range(steps * low, steps * high)} for {steps:,} steps"
        ),
        "assumed": (
            f"{UTILISATION:.0%} of {device.flops / 1e12:.0f} TFLOP/s, "
            f"{device.bandwidth / 1e12:.2f} TB/s, no wait for data or other devices"
        ),
    }


def duration_range(low: float, high: float) -> str:
    """A range of seconds, in a unit that reads well."""
    unit, seconds = next((u, s) for u, s in _UNITS.items() if high >= s or s == 1)
    return f"{_span(low / seconds, high / seconds)} {unit}"


def _span(low: float, high: float) -> str:
    """Two numbers in three significant digits."""
    return f"{_digits(low)} to {_digits(high)}"


def _digits(number: float) -> str:
    """Three significant digits, no exponent."""
    if not number:
        return "0"
    decimals = 2 - int(f"{number:.2e}".partition("e")[2])
    return f"{round(number, decimals):,.{max(0, decimals)}f}"
