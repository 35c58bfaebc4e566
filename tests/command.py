"""The command line in this process, for tests of what it writes and says."""

import os
import sys
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from darkrank_jax import main as command_line

CONFIG = f"--config={Path(__file__).parent / 'tiny_config.py'}"


def run(workdir, *arguments):
    """The exit code of the tiny run, or of another mode of it."""
    return command_line.main(["main", CONFIG, f"--workdir={workdir}", *arguments])


def refusal(capsys, *arguments):
    """The one line of a refused command."""
    assert command_line.main(["main", *map(str, arguments)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line.removeprefix("error: ")


def config_of_command(*arguments):
    """The config that a command line comes to."""
    return command_line.read_config(command_line.parse(["main", *arguments]))[0]


def newest_params(workdir):
    """Every array of a workdir's newest checkpoint."""
    with ocp.CheckpointManager(
        workdir / "checkpoints", item_handlers={"params": ocp.StandardCheckpointHandler()}
    ) as manager:
        items = manager.restore(
            manager.latest_step(), args=ocp.args.Composite(params=ocp.args.StandardRestore())
        )
        return manager.latest_step(), [np.asarray(leaf) for leaf in jax.tree.leaves(items.params)]


def limited(place, limit, *arguments):
    """The command in a process of its own under a limit of the shell: what Popen takes.

    Args:
      place: takes its cache.
      limit: of `ulimit`, such as ("-n", 32).
      arguments: of the command.
    """
    # By a shell, since JAX warns of every fork in this process.
    shell = ["sh", "-c", 'ulimit "$0" "$1" && shift && exec "$@"', *map(str, limit)]
    quick = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    changed = {
        "DARKRANK_CACHE": str(place / "cache"),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": quick,
        "OPENBLAS_NUM_THREADS": "1",
    }
    return {
        "args": [*shell, sys.executable, "-m", "darkrank_jax.main", *map(str, arguments)],
        "cwd": Path(__file__).parent.parent,
        "env": {**os.environ, **changed},
        "text": True,
    }
