"""A run that is killed again and again ends bitwise identical as one that nobody disturbed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from darkrank_jax.workdir.metrics_log import read_log
from tests.command import newest_params

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")

HERE = Path(__file__).parent
COMMON = [f"--config={HERE / 'tiny_config.py'}", "--config.log_every=1"]
COMMON += ["--config.eval_every=2"]
ALONE = ["--config.teacher={}", "--config.baseline={}"]
ALONE += ["--config.losses={'triplet': {'weight': 1.0}}"]


def check(folder, kills, parts, *arguments, killed_too=()):
    """Lets one run go to its end and kills another again and again; compares their bits."""
    # The step is compiled once for all processes.
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
    cache |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    undisturbed, killed = folder / "undisturbed", folder / "killed"
    with (
        (folder / "log.txt").open("w") as log,
        subprocess.Popen(
            [sys.executable, HERE / "fork_runs.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=HERE.parent,
            env={**os.environ, **cache, "PYTHONPATH": "."},
        ) as server,
    ):
        run_whole(server, undisturbed, arguments)
        chance = random.Random(kills)
        for _ in range(kills):
            kill_at_random(server, killed, (*arguments, *killed_too), chance)
        assert not (killed / "results.json").exists()
        run_whole(server, killed, arguments)
    for part in parts:
        step, params = newest_params(killed / part)
        expected_step, expected = newest_params(undisturbed / part)
        assert step == expected_step
        assert all((a == b).all() for a, b in zip(params, expected, strict=True))
        assert losses(killed / part) == losses(undisturbed / part)


def losses(workdir):
    """Step and loss of each row, bit by bit."""
    return [(row["step"], row["loss"]) for row in read_log(workdir) if "loss" in row]


def start(server, workdir, arguments):
    """Starts the command and gives the number of its process."""
    server.stdin.write(json.dumps([*COMMON, *arguments, f"--workdir={workdir}"]) + "\n")
    server.stdin.flush()
    return int(server.stdout.readline())


def run_whole(server, workdir, arguments):
    start(server, workdir, arguments)
    assert int(server.stdout.readline()) == 0


def kill_at_random(server, workdir, arguments, chance):
    """Kills a run while it starts, or after some of its steps."""
    more = logged(workdir) + chance.randrange(1, 6)
    patience = chance.uniform(0, 2) if chance.random() < 0.25 else 60
    process = start(server, workdir, arguments)
    until = time.monotonic() + patience
    while logged(workdir) < more and time.monotonic() < until:
        time.sleep(0.002)
    # Anywhere in a step, a validation or a save.
    time.sleep(chance.uniform(0, 0.1))
    os.kill(process, signal.SIGKILL)
    assert int(server.stdout.readline()) == -signal.SIGKILL


def logged(workdir):
    """How many rows the run's networks have logged."""
    return sum(map(len, map(read_log, (workdir, workdir / "teacher", workdir / "baseline"))))


@pytest.mark.slow
def test_two_kills(tmp_path):
    """While workers make the batches, which is to change nothing."""
    workers = ["--config.data.num_workers=2"]
    check(tmp_path, 2, [""], *ALONE, "--config.steps=10", killed_too=workers)


@pytest.mark.slow
def test_thirty_kills_of_a_whole_distillation(tmp_path):
    steps = ["--config.steps=50", "--config.teacher.steps=40"]
    check(tmp_path, 30, ["", "teacher", "baseline"], *steps)
