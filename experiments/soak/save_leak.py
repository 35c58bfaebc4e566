"""Memory that a save by Orbax keeps, as it is and by ways round; README.md has the figures. Linux.

python -m experiments.soak.save_leak [--saves 200] [--way plain]
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts

from experiments.soak.tensorstore_leak import resident

WAYS = ("plain", "no-ocdbt", "no-metrics", "no-strings")
TREES, ARRAYS, WARM_UP = ("params", "opt_state"), 75, 60


class _Spec:
    """In place of `tensorstore.KvStore.Spec`: gives back what it was made of."""

    def __init__(self, spec: dict[str, Any]):
        self.spec = spec

    def to_json(self) -> dict[str, Any]:
        """The spec, not resolved, which is enough for a folder of this machine."""
        return dict(self.spec)


class _TensorStore:
    """tensorstore with that in its place."""

    class KvStore:
        Spec, open = _Spec, staticmethod(ts.KvStore.open)

    def __getattr__(self, name: str) -> Any:
        return getattr(ts, name)


def leave_out(way: str) -> None:
    """Replaces functions inside Orbax, to see what they keep; nothing but this experiment does."""
    from orbax.checkpoint._src.serialization import tensorstore_utils

    inside: Any = tensorstore_utils
    if way in ("no-metrics", "no-strings"):
        inside.get_tensorstore_raw_bytes = lambda *arguments, **more: 0
    if way == "no-strings":
        inside.ts = _TensorStore()


def saver(manager: ocp.CheckpointManager) -> Callable[[int], None]:
    """A function that saves a step of small arrays."""
    rng = np.random.default_rng(0)
    trees = {
        tree: {f"a{i}": jax.numpy.asarray(rng.random((8, 8), np.float32)) for i in range(ARRAYS)}
        for tree in TREES
    }

    def save(step: int) -> None:
        arrays = {tree: ocp.args.StandardSave(values) for tree, values in trees.items()}
        progress = ocp.args.JsonSave({"seconds": 1.0})
        manager.save(step, args=ocp.args.Composite(progress=progress, **arrays))
        manager.wait_until_finished()

    return save


def main() -> None:
    """Saves again and again, and prints what a save keeps."""
    parser = argparse.ArgumentParser(description="Memory that saves keep.")
    parser.add_argument("--saves", type=int, default=200)
    parser.add_argument("--way", choices=WAYS, default=WAYS[0])
    arguments = parser.parse_args()
    leave_out(arguments.way)
    half = arguments.saves // 2
    handlers: dict[str, Any] = {
        tree: ocp.StandardCheckpointHandler(use_ocdbt=arguments.way != "no-ocdbt") for tree in TREES
    }
    handlers["progress"] = ocp.JsonCheckpointHandler()
    options = ocp.CheckpointManagerOptions(max_to_keep=2)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "checkpoints"
        manager = ocp.CheckpointManager(place, options=options, item_handlers=handlers)
        save = saver(manager)
        sizes, start = [], 0.0
        for step in range(WARM_UP + 2 * half):
            if step in (WARM_UP, WARM_UP + half):
                sizes.append(resident())
                start = start or time.perf_counter()
            save(step)
        seconds = time.perf_counter() - start
        sizes.append(resident())
        files = sum(path.is_file() for path in (place / str(WARM_UP + 2 * half - 1)).rglob("*"))
        manager.close()
    first, second = ((after - before) / half / 1024 for before, after in pairwise(sizes))
    versions = [f"{name} {metadata.version(name)}" for name in ("orbax-checkpoint", "tensorstore")]
    print(
        f"{', '.join(versions)}, {arguments.way}: {(first + second) / 2:.0f} KiB kept by a save "
        f"({first:.0f} in the first half, {second:.0f} in the second), "
        f"{500 * seconds / half:.0f} ms, {files} files"
    )


if __name__ == "__main__":
    main()
