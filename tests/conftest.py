"""Settings of the whole test run; they must stand before JAX starts its first device."""

import gc
import os
import shutil
from pathlib import Path

import jax
import jaxtyping
import pytest
import typechecker

# Most of the time of the tests is compilation, and their arrays are tiny: compile fast, not well.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
        # Those before them compile a training step in half the time.
        "--xla_cpu_use_fusion_emitters=false",
        # The other cores have tests of their own to compile for.
        "--xla_cpu_parallel_codegen_split_count=1",
        # Four devices on two busy cores: after 40 s XLA would end the process.
        "--xla_cpu_collective_call_terminate_timeout_seconds=600",
    ]
)

# Many tests build the same program again; workers and later runs find it there, and the cache of
# the user is left alone.
jax.config.update(
    "jax_compilation_cache_dir", str(Path(__file__).parent.parent / ".pytest_cache" / "xla")
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)

# Also where there is an accelerator, or its package without one.
jax.config.update("jax_platforms", "cpu")
# Four simulated devices: every test of training runs on a real mesh, also on a laptop.
jax.config.update("jax_num_cpu_devices", 4)
# (3,) + (4, 3) silently broadcasts in NumPy; here it is a fault.
jax.config.update("jax_numpy_rank_promotion", "raise")
# Of the import hook, which no module of the package has gone through yet.
jaxtyping.jaxtyped = typechecker.jaxtyped

# What JAX keeps for the whole run is millions of objects, and going through them again and again
# takes longer with every test.
gc.set_threshold(100_000, 50, 1000)

# Fixtures that train, export or compile: made once, by the worker that takes all tests of one.
COSTLY = ("finished", "exported", "teacher", "planned")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
    """Sends the tests of a costly fixture to one worker."""
    for item in items:
        for name in COSTLY:
            if name in item.fixturenames:
                item.add_marker(pytest.mark.xdist_group(name))


@pytest.fixture
def x64():
    """Runs one test in float64, for comparisons with golden values."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The workdir of a whole run that nothing disturbed."""
    # Not before jaxtyping has hooked the imports of the package.
    from tests.command import run

    workdir = tmp_path_factory.mktemp("finished") / "run"
    assert run(workdir) == 0
    return workdir


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of it to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.fixture(scope="session")
def workdir(tmp_path_factory):
    """The workdir of a network that was drawn, not trained."""
    from tests.drawn_runs import make_workdir

    return make_workdir(tmp_path_factory.mktemp("drawn") / "run")


@pytest.fixture(scope="session")
def other_workdir(tmp_path_factory):
    """Another one."""
    from tests.drawn_runs import make_workdir

    return make_workdir(tmp_path_factory.mktemp("drawn") / "other", seed=1)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder of class folders with images."""
    from tests.drawn_runs import class_folders

    return class_folders(tmp_path_factory.mktemp("pictures") / "images")


@pytest.fixture
def source(monkeypatch):
    """Registers a source of coloured images with names."""
    from darkrank_jax.data import SOURCES
    from tests.small_runs import colored

    monkeypatch.setitem(SOURCES, "colored", colored)
