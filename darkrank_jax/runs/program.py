"""What XLA's compiled programs say of themselves: their operations, and what each of them takes."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

# Bytes of a number, by XLA's name of its type.
_WIDTHS = {
    "pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2,
    "f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8,
}  # fmt: skip
# Names and places of arrays that exist already.
_NOTHING = {"bitcast", "constant", "get-tuple-element", "parameter", "tuple", "while"}
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_OPERATION = re.compile(r"\s*(?:ROOT )?%(\S+) = (\(.*?\)|\S+) ([\w-]+)\(([^)]*)\)")


class Operation(NamedTuple):
    """One operation of a program.

    Attributes:
      name: that JAX gave it, "jit(step)/part/..."; empty where XLA made it.
      times: that it runs; more than one in a loop.
      bytes: of its operands and results, each read or written whole, in a run.
      cycles: that a TPU's compiler expects of a run; 0 from other compilers.
    """

    name: str
    times: int
    bytes: int
    cycles: int


def operations(program: str) -> Iterator[Operation]:
    """The operations that a program runs, those in loops once each, with how often they run.

    Args:
      program: as `compiled.as_text()` has it.

    Yields:
      Each operation; a fusion is one.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> text = jax.jit(lambda x: x @ x.T).lower(jnp.ones((5, 3))).compile().as_text()
      >>> [(each.name.rpartition("/")[2], each.bytes) for each in operations(text) if each.bytes]
      [('dot_general', 220)]
    """
    blocks = dict(re.findall(r"^(?:ENTRY )?%(\S+) \(.*?\{\n(.*?)^\}", program, re.M | re.S))
    (entry,) = re.findall(r"^ENTRY %(\S+) ", program, re.M)
    yield from _of_block(entry, 1, blocks)


def _of_block(name: str, times: int, blocks: dict[str, str]) -> Iterator[Operation]:
    """Of a computation that runs so often."""
    sizes: dict[str, int] = {}
    for line in blocks[name].splitlines():
        if not (parsed := _OPERATION.match(line)):
            continue
        result, shapes, kind, operands = parsed.groups()
        sizes[result] = _bytes(shapes)
        if loop := re.search(r"condition=%([^,]+), body=%([^,\s]+)", line):
            yield from _of_block(loop[2], times * _trips(line, blocks[loop[1]]), blocks)
        scope = re.search(r'op_name="([^"]*)"', line)
        cycles = re.search(r'"estimated_cycles":"(\d+)"', line)
        moved = sizes[result] + sum(
            sizes.get(operand, 0) for operand in re.findall(r"%([^,\s]+)", operands)
        )
        yield Operation(
            scope[1] if scope else "",
            times,
            0 if kind in _NOTHING else moved,
            int(cycles[1]) if cycles else 0,
        )


def _trips(loop: str, condition: str) -> int:
    """How often a loop runs: known, or the one number that its condition counts up to."""
    if known := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop):
        return int(known[1])
    return max(map(int, re.findall(r"constant\((\d+)\)", condition)), default=1)


def _bytes(shapes: str) -> int:
    """Of all arrays that a line names."""
    return sum(
        _WIDTHS.get(dtype, 0) * math.prod(int(side) for side in sides.split(",") if side)
        for dtype, sides in _ARRAY.findall(shapes)
    )
