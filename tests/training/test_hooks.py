"""Hooks: found by name, called with what a run logs, and never the end of what it has computed."""

import importlib
import re
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.errors import UserError
from darkrank_jax.models import MODELS
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training.checkpoints import open_checkpoints
from darkrank_jax.training.hooks import call_hook, make_hook, named
from darkrank_jax.training.loop import fit
from darkrank_jax.workdir.metrics_log import read_log
from tests.small_runs import read, small

GUIDE = (Path(__file__).parents[2] / "docs/guides/track.md").read_text(encoding="utf-8")
TRACKERS = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
VALUES = [
    (2, {"student/loss": 0.75, "student/images_per_second": 12.5}),
    (4, {"student/loss": 0.5}),
]
SCORES = {"student/validation/recall_at_1": 0.25}
RESULTS = {"networks": {"student": {"metrics": {"recall_at_1": 0.125}, "steps": 4}}}


class Recorder:
    def __init__(self):
        self.calls = []

    def on_log(self, step, values):
        self.calls.append(("on_log", step, values))

    def on_validation(self, step, values):
        self.calls.append(("on_validation", step, values))

    def on_end(self, results):
        self.calls.append(("on_end", results))


class BrokenAtThree(Recorder):
    def on_log(self, step, values):
        if step == 3:
            raise ConnectionError("no\nnetwork")


MODULE = """
class Kept:
    def __init__(self, workdir, config):
        self.given = workdir, config
    def on_log(self, step, values): pass
    on_validation = on_log
    def on_end(self, results): pass

def without_end(workdir, config):
    class Half:
        on_log = on_validation = print
    return Half()

def failing(workdir, config):
    raise ConnectionError("no network")
"""


@pytest.fixture
def trackers(tmp_path, monkeypatch):
    """A module of the current folder."""
    (tmp_path / "my_trackers.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    yield "my_trackers"
    sys.modules.pop("my_trackers", None)


def test_a_factory_of_the_current_folder_gets_workdir_and_config(trackers, tmp_path):
    hook = make_hook(None, f"{trackers}.Kept", tmp_path / "run", {"seed": 3})
    assert hook.given == (tmp_path / "run", {"seed": 3})
    assert str(tmp_path) not in sys.path


def test_an_object_is_the_hook_itself_and_none_is_none(tmp_path):
    hook = Recorder()
    assert make_hook(hook, "", tmp_path, {}) is hook
    assert make_hook(None, "", tmp_path, {}) is None


@pytest.mark.parametrize(
    ("given", "factory", "line"),
    [
        (None, "wandb", "hook: must be MODULE.NAME of a function of workdir and config "
         "(got 'wandb'); name its module too"),
        (None, "my_trackers.Wandb", "hook: my_trackers.Wandb raised AttributeError: module "
         "'my_trackers' has no attribute 'Wandb'; give MODULE.NAME of a function of workdir and "
         "config"),
        (None, "no_trackers.A", "hook: no_trackers.A raised ModuleNotFoundError: No module named "
         "'no_trackers'; give MODULE.NAME of a function of workdir and config"),
        (None, "my_trackers.failing", "hook: my_trackers.failing raised ConnectionError: no "
         "network; give MODULE.NAME of a function of workdir and config"),
        (None, "my_trackers.without_end", "hook: must have on_log, on_validation, on_end (got "
         "Half, which lacks on_end); add what is missing"),
        (3, "", "hook: must have on_log, on_validation, on_end (got int, which lacks on_log, "
         "on_validation, on_end); add what is missing"),
        (Recorder(), "my_trackers.Kept", "hook: must come from Python or from the config (got an "
         "object and 'my_trackers.Kept'); leave one out"),
    ],
)  # fmt: skip
def test_what_makes_no_hook_is_one_line(given, factory, line, trackers, tmp_path):
    with pytest.raises(UserError) as error:
        make_hook(given, factory, tmp_path, {})
    assert str(error.value) == line


def test_what_a_hook_raises_is_one_line_that_names_it():
    failure = call_hook(BrokenAtThree(), "on_log", 3, {}, advice="fix it")
    assert str(failure) == "hook: BrokenAtThree.on_log raised ConnectionError: no network; fix it"
    assert isinstance(failure.__cause__, ConnectionError)
    assert call_hook(BrokenAtThree(), "on_log", 2, {}, advice="fix it") is None


def test_values_are_named_by_network_in_names_that_trackers_take():
    found = named("student's teacher", {"loss": 0.5, "losses/kd": 0.25})
    assert found == {"student/teacher/loss": 0.5, "student/teacher/losses/kd": 0.25}


class Flat(nn.Module):
    """A backbone that compiles fast."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images, train):
        return (nn.Conv(3, (4, 4), (4, 4), dtype=self.dtype)(images),)


@pytest.mark.slow
@pytest.mark.usefixtures("source")
def test_a_run_whose_hook_fails_is_saved_and_resumes_with_the_next_call(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "flat", Flat)
    config = small(steps=5, log_every=1, eval_every=5)
    config.model = {"name": "flat", "embedding_dim": 4}
    run = read(config)
    arguments = (run, Splits()[run.data], tmp_path, make_mesh(8, jax.devices()[:1]), "network")
    with pytest.raises(UserError) as error:
        fit(*arguments, None, hook=BrokenAtThree())
    assert str(error.value) == (
        f"hook: BrokenAtThree.on_log raised ConnectionError: no network; {tmp_path} is saved at "
        "step 3; fix the hook, and the same command resumes"
    )
    assert [row["step"] for row in read_log(tmp_path)] == [1, 2, 3]
    with open_checkpoints(tmp_path, 2) as manager:
        assert manager.latest_step() == 3
    hook = Recorder()
    fit(*arguments, None, hook=hook)
    rows = read_log(tmp_path)
    assert [row.pop("step") for row in rows] == [1, 2, 3, 4, 5, 5]
    fourth, fifth, scores = [named("network", row) for row in rows[3:]]
    assert hook.calls == [
        ("on_log", 4, fourth), ("on_log", 5, fifth), ("on_validation", 5, scores)
    ]  # fmt: skip
    assert fourth["network/loss"] > 0
    assert 0 <= scores["network/validation/recall_at_1"] <= 1


def use(name, workdir):
    """A tracker of the guide after a small run; the module that it needs, or a skipped test."""
    (code,) = (code for code in TRACKERS if f"class {name}:" in code)
    module = pytest.importorskip(re.search(r"^(?:import|from) (\w+)", code)[1])
    names = {}
    exec(compile(code, "track.md", "exec"), names)
    hook = make_hook(names[name](workdir, {"seed": 3, "data": {"size": (4, 5)}}), "", workdir, {})
    for step, values in VALUES:
        hook.on_log(step, values)
    hook.on_validation(4, SCORES)
    hook.on_end(RESULTS)
    return module, hook


def test_tensorboard_of_the_guide_holds_every_value(tmp_path):
    use("TensorBoard", tmp_path)
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("events.*"))
    for name in ("student/loss", "student/validation/recall_at_1", "recall_at_1", "config"):
        assert name.encode() in written


@pytest.mark.filterwarnings("ignore")
def test_mlflow_of_the_guide_holds_every_value(tmp_path):
    _, hook = use("MLflow", tmp_path)
    losses = hook.client.get_metric_history(hook.run, "student/loss")
    assert [(each.step, each.value) for each in losses] == [(2, 0.75), (4, 0.5)]
    found = hook.client.get_run(hook.run)
    assert found.data.metrics["student/validation/recall_at_1"] == 0.25
    assert found.data.metrics["student/test/recall_at_1"] == 0.125
    assert found.data.params["seed"] == "3"
    assert found.info.status == "FINISHED"


@pytest.mark.filterwarnings("ignore")
def test_wandb_of_the_guide_holds_every_value(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    use("Wandb", tmp_path)
    (file,) = tmp_path.rglob("*.wandb")
    names = ("student/loss", "student/validation/recall_at_1", "results")
    # Written by a process of its own.
    end = time.monotonic() + 20
    while not all(name.encode() in file.read_bytes() for name in names):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_every_tracker_of_the_guide_is_tried_here():
    found = set(re.findall(r"^class (\w+):", "\n".join(TRACKERS), re.MULTILINE))
    assert found == {"TensorBoard", "MLflow", "Wandb"}
