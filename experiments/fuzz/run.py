"""Reads randomly damaged files with every reader of untrusted bytes; README.md has the question.

    python -m experiments.fuzz.run [--minutes 10] [--readers NAME ...] [--run runs/demo]

Each reader runs in a process of its own with 3 GiB of memory. Anything but a value or a one-line
`UserError` is a failure: its input is kept under build/fuzz, and the exit code is 1.
"""

import argparse
import json
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from darkrank_jax.errors import UserError
from experiments.fuzz.readers import READERS, Reader

KEPT = Path("build/fuzz")
MEMORY, SECONDS_OF_ONE = 3 << 30, 60
# Address space that JAX and its threads reserve before anything is read.
RESERVED = 6 << 30
_QUIET = settings(
    max_examples=50,
    deadline=None,
    database=None,
    # Inputs are kept as they failed: to shrink them takes minutes each.
    phases=(Phase.generate,),
    suppress_health_check=list[Any](HealthCheck),
)


def main() -> int:
    """Runs the readers one after the other, prints a table, and returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="for all readers together")
    parser.add_argument("--readers", nargs="*", choices=list(READERS), default=list(READERS))
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help="trained and exported")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    seconds = 60 * arguments.minutes / len(arguments.readers)
    if arguments.child:
        print(json.dumps(attack(arguments.readers[0], arguments.run, seconds)))
        return 0
    shutil.rmtree(KEPT, ignore_errors=True)
    print("| reader | inputs | read | refused | failures |\n|---|---|---|---|---|")
    failed = False
    for name in arguments.readers:
        found = in_child(name, arguments.run, seconds)
        failed |= bool(found["failures"])
        counts = " | ".join(str(found[key]) for key in ("inputs", "read", "refused"))
        print(f"| {name} | {counts} | {'; '.join(found['failures']) or 'none'} |", flush=True)
    return int(failed)


def in_child(name: str, run: Path, seconds: float) -> dict[str, Any]:
    """What `attack` found in a process that may crash."""
    command = [sys.executable, "-m", "experiments.fuzz.run", "--child", "--readers", name]
    command += ["--minutes", str(seconds / 60), "--run", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        return json.loads(lines[-1])
    last = (done.stderr.strip().splitlines() or ["no word"])[-1]
    failure = f"ended with {done.returncode} ({last[:200]}); see {KEPT / name}"
    return {"inputs": "?", "read": "?", "refused": "?", "failures": [failure]}


def attack(name: str, run: Path, seconds: float) -> dict[str, Any]:
    """Damages a reader's files and reads them until the time is up."""
    reader, folder = READERS[name], KEPT / name
    counts: dict[str, Any] = {"inputs": 0, "read": 0, "refused": 0, "failures": []}
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGALRM, _too_slow)
    with tempfile.TemporaryDirectory() as made:
        paths = reader.make(Path(made), run)
        if not paths:
            sys.exit(f"{run}: holds no file for the reader {name!r}; export every format first")
        whole = {path: path.read_bytes() for path in paths}
        for path in paths:
            reader.read(path)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY + RESERVED, MEMORY + RESERVED))

        def attempt(path: Path, change: Any) -> None:
            outcome = try_once(reader, path, change, whole[path], folder)
            counts["inputs"] += bool(outcome)
            if outcome:
                counts[outcome] += 1

        edits = st.one_of(*(make() for make in reader.edits))
        end, number = time.monotonic() + seconds, 0
        while time.monotonic() < end and len(counts["failures"]) < 5:
            number += 1
            tried = _QUIET(given(st.sampled_from(paths), edits)(attempt))
            try:
                seed(number)(tried)()
            except Exception as error:  # Anything but UserError is what is looked for.
                kept = KEPT / "failures" / f"{name}-{number}"
                shutil.copytree(folder, kept, dirs_exist_ok=True)
                counts["failures"].append(f"{type(error).__name__}: {str(error)[:150]} ({kept})")
    if not counts["failures"]:
        shutil.rmtree(folder)
    return counts


def try_once(reader: Reader, path: Path, change: Any, whole: bytes, folder: Path) -> str:
    """Reads one damaged file: "read" or "refused", or "" where the edit did not apply."""
    try:
        data = change(whole)
    except (ValueError, zipfile.BadZipFile):  # An edit for JSON or zip of what is neither.
        return ""
    # Kept where a crash leaves it.
    for each in (folder / path.name, path):
        each.write_bytes(data)
    signal.alarm(SECONDS_OF_ONE)
    try:
        reader.read(path)
    except UserError as error:
        if "\n" in str(error):
            raise ValueError(f"an error of several lines: {error}") from error
        return "refused"
    finally:
        signal.alarm(0)
        path.write_bytes(whole)
    return "read"


def _too_slow(*_: Any) -> None:
    raise TimeoutError(f"more than {SECONDS_OF_ONE} s")


if __name__ == "__main__":
    sys.exit(main())
