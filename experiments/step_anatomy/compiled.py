"""Where a TPU's compiler expects the time of a step to go; no TPU is needed. README.md has it.

    pip install "jax[tpu]"
    python -m experiments.step_anatomy.compiled [--accelerator tpu_v5e] [--devices 1]
        [--batch 256] [--pixels 224]

The step of run.py, in bfloat16. The compiler writes into its program how many cycles it expects
each operation to take; here they are summed by the part of the step that the operation is of, those
in a loop as often as it runs.
"""

import argparse
import re
from collections import Counter
from unittest import mock

import jax
import numpy as np

from darkrank_jax.data import Split
from darkrank_jax.training import plan as plans
from darkrank_jax.training.accelerators import ACCELERATORS, absent_devices
from darkrank_jax.training.mesh import make_mesh
from experiments.step_anatomy import ours
from experiments.step_anatomy.batch import LOSSES, Sizes

FORWARD, BACKWARD = "student forward", "student backward"
TPUS = [name for name in ACCELERATORS if name.startswith("tpu")]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--accelerator", choices=TPUS, default="tpu_v5e")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--pixels", type=int, default=224)
    arguments = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    devices = absent_devices(ACCELERATORS[arguments.accelerator], arguments.devices)
    sizes = Sizes(arguments.batch, arguments.pixels, "bfloat16")
    program = compiled(sizes, devices)
    print(f"{len(devices)} x {devices[0].device_kind}, batch {sizes.batch}, {sizes.pixels} px, "
          f"{sizes.dtype}\n\n{table(cycles(program))}")  # fmt: skip


def compiled(sizes: Sizes, devices: list) -> str:
    """The program of the step on some devices, as XLA prints it."""
    run, size = ours.run_of(sizes), sizes.pixels
    images = np.zeros((sizes.batch, size, size, 3), np.uint8)
    split = Split(images, np.zeros(sizes.batch, np.int32), ("one",))
    # Of the data, only its shapes go into a program.
    with mock.patch.object(plans, "load_data", return_value={"train": split}):
        step, shapes = plans._step(run, make_mesh(sizes.batch, devices))
    return step.lower(*shapes).compile().as_text()


def table(found: Counter[str]) -> str:
    """Thousands of cycles by part, and shares of the step."""
    found = Counter(found)
    found["all losses"] = sum(found[name] for name in LOSSES)
    step = sum(found.values()) - found["all losses"]
    named = ["teacher", FORWARD, BACKWARD, *LOSSES, "all losses", "optimizer"]
    found["rest"] = step - sum(found[name] for name in named if name not in LOSSES)
    lines = [
        f"| {part} | {found[part] / 1e3:,.1f} | {found[part] / step:.1%} |"
        for part in (*named, "rest")
    ]
    head = ["| part | thousand cycles | share |", "|---|---|---|"]
    return "\n".join([*head, *lines, f"| step | {step / 1e3:,.1f} | 100.0% |"])


def cycles(program: str) -> Counter[str]:
    """Cycles that the compiler expects, by part, from the text of a program."""
    blocks = dict(re.findall(r"^(?:ENTRY )?%(\S+) \(.*?\{\n(.*?)^\}", program, re.M | re.S))
    (entry,) = re.findall(r"^ENTRY %(\S+) ", program, re.M)

    def of(block: str, times: int) -> Counter[str]:
        total: Counter[str] = Counter()
        for line in blocks[block].splitlines():
            if expected := re.search(r'"estimated_cycles":"(\d+)"', line):
                total[part_of(line)] += times * int(expected[1])
            if loop := re.search(r" while\(.*condition=%([^,]+), body=%([^,]+)", line):
                # It counts up to the one number that its condition compares with.
                ends = re.findall(r"constant\((\d+)\)", blocks[loop[1]])
                total += of(loop[2], times * max(map(int, ends)))
        return total

    return of(entry, 1)


def part_of(line: str) -> str:
    """The part of the step that a line of a program is of, by the name that JAX gave it."""
    scope = re.search(r'op_name="jit\(train_step\)/([^/"]*)', line)
    innermost = re.search(r"([^()]*)\)*$", scope[1] if scope else "")
    name = innermost[1] if innermost else ""
    if scope and name == "EmbeddingModel":
        return BACKWARD if scope[1].startswith("transpose") else FORWARD
    return name


if __name__ == "__main__":
    main()
