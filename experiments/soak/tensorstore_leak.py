"""Memory that tensorstore alone keeps, call by call; reproduces what `run.py` measures of saves.

python -m experiments.soak.tensorstore_leak [--calls 20000]
"""

import argparse
import ctypes
import gc
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import tensorstore as ts


def resident() -> int:
    """Bytes of memory of this process, after the allocator gave back what is free."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("/proc/self/status has no VmRSS")


def measure(name: str, call: Callable[[], Any], calls: int) -> None:
    """Prints what a call keeps, by Python's allocator and by the process."""
    for _ in range(200):
        call()
    tracemalloc.start()
    held, size = tracemalloc.get_traced_memory()[0], resident()
    for _ in range(calls):
        call()
    size = resident() - size
    held = tracemalloc.get_traced_memory()[0] - held
    tracemalloc.stop()
    print(f"{name:<42} {held / calls:8.1f} {size / calls:8.1f}", flush=True)


def main() -> None:
    """Measures the calls that keep memory, and one that keeps nothing beside them."""
    parser = argparse.ArgumentParser(description="Memory that tensorstore keeps.")
    parser.add_argument("--calls", type=int, default=20_000)
    calls = parser.parse_args().calls
    print(f"tensorstore {metadata.version('tensorstore')}")
    print(f"{'bytes kept by a call':<42} {'traced':>8} {'resident':>8}")
    with tempfile.TemporaryDirectory() as folder:
        plain = ts.KvStore.Spec({"driver": "file", "path": f"{folder}/"})
        database = ts.KvStore.Spec({"driver": "ocdbt", "base": f"file://{folder}/"})
        measure("KvStore.Spec.to_json(), file", plain.to_json, calls)
        measure("KvStore.Spec.to_json(), ocdbt", database.to_json, calls)
        measure("KvStore.Spec.url, file", lambda: plain.url, calls)
        measure(
            "experimental_collect_matching_metrics(...)",
            lambda: ts.experimental_collect_matching_metrics("/tensorstore/"),
            max(1, calls // 100),
        )


if __name__ == "__main__":
    main()
