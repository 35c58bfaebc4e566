"""Train, evaluate, compare and load from Python, as a notebook cell does."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

import darkrank_jax
from darkrank_jax.errors import UserError
from tests import tiny_config


def test_a_notebook_cell_trains_reads_recall_and_shows_the_report(tmp_path, finished):
    shutil.copytree(finished, tmp_path / "run")
    config = darkrank_jax.load_config(tiny_config)
    results = darkrank_jax.train(config, workdir=tmp_path / "run")
    written = json.loads((finished / "results.json").read_text())
    assert results.values == written
    recall = written["networks"]["student"]["metrics"]["recall_at_1"]
    assert results.metrics["student"]["recall_at_1"] == recall
    assert results.report == tmp_path / "run" / "report.html"
    assert f"student {recall:.3f}" in repr(results)
    assert "\n" not in repr(results)
    assert f"{recall:.3f}" in str(results)
    assert repr(results.load("student")) == "LoadedRun('run', images 16 x 16 x 1, 8 numbers)"
    page = results._repr_html_()
    assert page.startswith("<iframe srcdoc=")
    # The report's own quotes must not end the attribute.
    assert page.count('"') == 8
    images = np.zeros((2, 16, 16, 1), np.uint8)
    assert results.load("student").embed(images).shape == (2, 8)
    with pytest.raises(UserError, match="network: unknown name 'studnt'; did you mean 'student'"):
        results.load("studnt")


@pytest.mark.slow
def test_two_overridden_fields_train_twenty_steps(tmp_path):
    config = darkrank_jax.load_config(
        tiny_config.__file__, steps=20, **{"teacher.steps": 10, "baseline": {}}
    )
    heard = []
    hook = SimpleNamespace(
        on_log=lambda step, values: heard.append((step, {name.split("/")[0] for name in values})),
        on_validation=lambda step, values: heard.append((step, {*values})),
        on_end=heard.append,
    )
    results = darkrank_jax.train(config, workdir=tmp_path / "run", hook=hook)
    # Every 2 steps of each network, validation every 4 and at the end.
    logs = [(step, {"teacher"}) for step in (2, 4, 6, 8, 10)]
    logs += [(step, {"student"}) for step in range(2, 21, 2)]
    assert [call for call in heard[:-1] if call in logs] == logs
    scores = [step for step, names in heard[:-1] if "student/validation/recall_at_1" in names]
    assert scores == [4, 8, 12, 16, 20]
    assert heard[-1] == results.values
    assert list(results.networks) == ["teacher", "student"]
    assert [results.networks[name]["steps"] for name in results.networks] == [10, 20]
    again = darkrank_jax.evaluate(tmp_path / "run")
    assert again.metrics == results.metrics
    second = darkrank_jax.load_config(tiny_config.__file__, steps=20, seed=1, baseline={})
    darkrank_jax.train(second, workdir=tmp_path / "second")
    page = darkrank_jax.compare([tmp_path / "run", tmp_path / "second"], workdir=tmp_path / "both")
    assert page == tmp_path / "both" / "report.html"
    assert page.is_file()


def test_load_config_overrides_fields_and_options_left_at_their_defaults():
    config = darkrank_jax.load_config(
        tiny_config, steps=7, **{"teacher.learning_rate": 0.5, "optimizer.b1": 0.8}
    )
    assert (config.steps, config.teacher.learning_rate, config.optimizer.b1) == (7, 0.5, 0.8)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"stepz": 3}, "stepz: no field 'stepz' in the config; did you mean 'steps'"),
        ({"teacher.stepz": 3}, "teacher.stepz: no field 'stepz' in the config; did you mean"),
        ({"steps.x": 3}, "steps.x: steps is a value and has no fields; set it whole"),
        ({"steps": "many"}, "steps: "),
    ],
)
def test_load_config_refuses_fields_and_values_that_do_not_fit(fields, line):
    with pytest.raises(UserError) as error:
        darkrank_jax.load_config(tiny_config, **fields)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


def test_train_refuses_what_is_not_a_config(tmp_path):
    with pytest.raises(UserError, match=r"^config: must be a ConfigDict or a mapping \(got int\)"):
        darkrank_jax.train(3, workdir=tmp_path)
    with pytest.raises(UserError, match=r"^config: no file, name or module 'nothing.py'"):
        darkrank_jax.load_config("nothing.py")


def test_evaluate_refuses_a_config_of_another_run(finished):
    config = darkrank_jax.load_config(tiny_config, **{"data.mean": 0.25})
    with pytest.raises(UserError, match=r"holds a run whose data\.mean is"):
        darkrank_jax.evaluate(finished, config)


def test_every_public_name_is_importable():
    for name in {*darkrank_jax.__all__} - {"__version__"}:
        assert getattr(darkrank_jax, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        getattr(darkrank_jax, "trian")  # noqa: B009
