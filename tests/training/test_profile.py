"""A trace of some steps, and compiled programs that outlive the process."""

import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from darkrank_jax import main as command_line
from darkrank_jax.training.profile import tracing


@pytest.fixture
def calls(monkeypatch):
    found = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: found.append(("start", folder)))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: found.append("stop"))
    return found


@pytest.mark.parametrize(
    ("steps", "taken", "expected"),
    [
        (3, 1, []),
        (3, 2, [2, "stop"]),  # the run ends before the trace
        (3, 9, [2, 5]),
        (0, 9, []),
    ],
)
def test_traces_so_many_steps_behind_the_first_two(steps, taken, expected, calls, tmp_path):
    seen = []
    with tracing(tmp_path, steps) as stepped:
        for step in range(1, taken + 1):
            before = len(calls)
            stepped(jnp.zeros(()))
            seen += [step] * (len(calls) - before)
    if len(calls) > len(seen):
        seen.append(calls[-1])
    assert seen == expected
    assert calls == [("start", tmp_path), "stop"][: len(calls)]


@pytest.mark.parametrize(
    ("enabled", "given", "expected"),
    [(True, None, "compiled"), (True, "elsewhere", None), (False, None, None)],
)
def test_compiled_programs_go_to_the_users_cache(enabled, given, expected, monkeypatch, tmp_path):
    monkeypatch.setenv("DARKRANK_CACHE", str(tmp_path))
    updates = {}
    config = SimpleNamespace(
        jax_enable_compilation_cache=enabled,
        jax_compilation_cache_dir=given,
        update=updates.__setitem__,
    )
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(config=config))
    command_line.keep_compiled()
    folder = {"jax_compilation_cache_dir": str(tmp_path / "compiled")}
    assert updates == (folder if expected else {})
    assert (tmp_path / "compiled").is_dir() == bool(expected)
