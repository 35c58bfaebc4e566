"""Where the compiler for an accelerator expects the time of a step to go; none is needed.

    pip install "jax[tpu]" "jax[cuda13]"
    python -m experiments.step_anatomy.compiled [--accelerator tpu_v5e] [--devices 1]
        [--batch 256] [--pixels 224]

The step of run.py, in bfloat16; README.md has the tables. The compiler for TPUs writes into its
program how many cycles it expects each operation to take; those for GPUs write none, and of them
the bytes of operands and results are counted. Either is summed by the part of the step that the
operation is of, those in a loop as often as it runs.
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterable
from unittest import mock

import jax
import numpy as np

from darkrank_jax.data import Split
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.runs import plan as plans
from darkrank_jax.runs.accelerators import ACCELERATORS, absent_devices
from darkrank_jax.runs.program import Operation, operations
from darkrank_jax.runs.shapes import abstract_network
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training.network import Network
from experiments.step_anatomy import ours
from experiments.step_anatomy.batch import LOSSES, Sizes

FORWARD, BACKWARD = "student forward", "student backward"
# What is counted of an operation.
UNITS = {"tpu": ("thousand cycles", "cycles", 1e3), "gpu": ("MB", "bytes", 1e6)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--accelerator", choices=list(ACCELERATORS), default="tpu_v5e")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--pixels", type=int, default=224)
    arguments = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    devices = absent_devices(ACCELERATORS[arguments.accelerator], arguments.devices)
    sizes = Sizes(arguments.batch, arguments.pixels, "bfloat16")
    unit, counted, scale = UNITS["tpu" if devices[0].platform == "tpu" else "gpu"]
    found = by_part(operations(compiled(sizes, devices)), counted)
    print(f"{len(devices)} x {devices[0].device_kind}, batch {sizes.batch}, {sizes.pixels} px, "
          f"{sizes.dtype}\n\n{table(found, unit, scale)}")  # fmt: skip


def compiled(sizes: Sizes, devices: list) -> str:
    """The program of the step on some devices, as XLA prints it."""
    run, size = ours.run_of(sizes), sizes.pixels
    images = np.zeros((sizes.batch, size, size, 3), np.uint8)
    split = Split(images, np.zeros(sizes.batch, np.int32), ("one",))
    # Of the data, only its shapes go into a program.
    splits = mock.MagicMock(spec=Splits)
    splits.__getitem__.return_value = {"train": split}
    assert run.teacher
    teacher, student = abstract_network(run.teacher, splits), abstract_network(run, splits)
    assert isinstance(student, Network)
    step, shapes = plans.abstract_step(student, teacher, splits, make_mesh(sizes.batch, devices))
    return step.lower(*shapes).compile().as_text()


def by_part(found: Iterable[Operation], counted: str) -> Counter[str]:
    """The cycles or bytes of a step, by part."""
    total: Counter[str] = Counter()
    for each in found:
        total[part_of(each.name)] += each.times * getattr(each, counted)
    return total


def table(found: Counter[str], unit: str, scale: float) -> str:
    """What each part has, in a unit, and its share of the step."""
    found = Counter(found)
    found["all losses"] = sum(found[name] for name in LOSSES)
    step = sum(found.values()) - found["all losses"]
    named = ["teacher", FORWARD, BACKWARD, *LOSSES, "all losses", "optimizer"]
    found["rest"] = step - sum(found[name] for name in named if name not in LOSSES)
    lines = [
        f"| {part} | {found[part] / scale:,.1f} | {found[part] / step:.1%} |"
        for part in (*named, "rest")
    ]
    head = [f"| part | {unit} | share |", "|---|---|---|"]
    return "\n".join([*head, *lines, f"| step | {step / scale:,.1f} | 100.0% |"])


def part_of(name: str) -> str:
    """The part of the step that an operation is of, by the name that JAX gave it."""
    scope = re.match(r"jit\(train_step\)/([^/]*)", name)
    innermost = re.search(r"([^()]*)\)*$", scope[1] if scope else "")
    part = innermost[1] if innermost else ""
    if scope and part == "EmbeddingModel":
        return BACKWARD if scope[1].startswith("transpose") else FORWARD
    return part


if __name__ == "__main__":
    main()
