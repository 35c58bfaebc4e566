"""Whether the arrays that a checkpoint lists have all their data on the disk."""

import json
import math
from pathlib import Path
from typing import Any

import tensorstore


def missing_arrays(item: Path) -> list[str]:
    """The arrays of a saved tree whose shape or data cannot be found, read back from the disk.

    Orbax lists a tree's arrays in `_METADATA` before it writes them, and gathers what its processes
    wrote into one OCDBT database, a step that may do nothing without an error.

    Args:
      item: folder of one tree of a checkpoint, such as `checkpoints/400/params`.

    Returns:
      Names, sorted; none where each array has as many chunks as its shape asks for.

    Raises:
      OSError: the tree's list cannot be read.
      ValueError: the list or the database is damaged.
    """
    listed = json.loads((item / "_METADATA").read_text(encoding="utf-8"))["tree_metadata"]
    names = {
        ".".join(str(part["key"]) for part in leaf["key_metadata"])
        for leaf in listed.values()
        # Nodes without arrays, such as an optimizer's empty state, are listed as well.
        if leaf["value_metadata"]["value_type"] == "jax.Array"
    }
    base = {"driver": "file", "path": f"{item}/"}
    store: Any = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    found: dict[str, int] = {}
    shapes = {}
    for key in (raw.decode() for raw in store.list().result()):
        array, _, part = key.rpartition("/")
        if part == ".zarray":
            shapes[array] = store.read(key)
        else:
            found[array] = found.get(array, 0) + 1
    facts = {name: json.loads(read.result().value) for name, read in shapes.items()}
    return sorted(n for n in names if n not in facts or found.get(n, 0) < _chunks(facts[n]))


def _chunks(zarray: dict[str, Any]) -> int:
    """How many chunks an array is stored in."""
    sides = zip(zarray["shape"], zarray["chunks"], strict=True)
    return math.prod(math.ceil(length / chunk) for length, chunk in sides)
