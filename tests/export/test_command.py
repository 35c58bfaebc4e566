"""Exports of a run: every format loaded again, what is beyond the tolerance deleted."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

import darkrank_jax
from darkrank_jax.errors import UserError
from darkrank_jax.export import command, formats
from darkrank_jax.export.command import export_run
from darkrank_jax.export.onnx import write_onnx
from darkrank_jax.export.source import load_source
from darkrank_jax.runs.splits import Splits
from tests.drawn_runs import make_workdir


def test_formats_that_cannot_be_written_are_left_out_by_default(workdir, monkeypatch, capsys):
    there = importlib.util.find_spec
    hidden = ("onnx", "onnxruntime")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in hidden else there(name)
    )
    assert command.format_names("") == ["stablehlo", "safetensors", "stablehlo_int8"]
    said = capsys.readouterr().out.splitlines()
    assert said[0] == (
        "model.onnx            left out, needs onnx and onnxruntime: "
        'pip install "darkrank-jax[export]"'
    )
    assert said[1].startswith("model_int8.onnx       left out, needs onnx and")
    with pytest.raises(UserError) as raised:
        command.format_names("safetensors,onnx")
    assert str(raised.value) == (
        '--formats: onnx needs onnx and onnxruntime; run `pip install "darkrank-jax[export]"`, or '
        "leave out --formats for what can be written here"
    )


@pytest.mark.slow
def test_a_bfloat16_run_is_exported_in_float32(tmp_path):
    workdir = make_workdir(tmp_path / "half", dtype="bfloat16")
    export_run(workdir, formats="onnx", output=str(tmp_path / "out"))
    assert (
        darkrank_jax.load_run(tmp_path / "out" / "model.onnx").facts["model"]["dtype"] == "float32"
    )


def test_a_wrong_export_is_not_written_and_the_right_ones_are(
    workdir, other_workdir, tmp_path, monkeypatch, capsys
):
    other = load_source(other_workdir)
    wrong = formats.FORMATS["onnx"]._replace(write=lambda _, path: write_onnx(other, path))
    monkeypatch.setitem(command.FORMATS, "onnx", wrong)
    with pytest.raises(UserError, match=r"^model.onnx differs from the model by .*; not written\."):
        export_run(workdir, formats="onnx,safetensors", output=str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model.safetensors",
        "model_card.md",
        "preprocess.py",
    ]
    assert "model.onnx" not in (tmp_path / "model_card.md").read_text()
    assert "not written" in capsys.readouterr().out


def test_a_failed_export_leaves_no_file(workdir, tmp_path, monkeypatch):
    def half(source, path):
        path.write_text("half")
        raise RuntimeError("stopped")

    monkeypatch.setitem(
        command.FORMATS, "stablehlo", formats.FORMATS["stablehlo"]._replace(write=half)
    )
    with pytest.raises(RuntimeError, match="stopped"):
        export_run(workdir, formats="stablehlo", output=str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_held_images_are_of_the_test_split(workdir, monkeypatch, tmp_path):
    seen = []
    original = command.measure_export

    def measured(embed, images, labels, *rest):
        seen.append((images, labels))
        return original(embed, images, labels, *rest)

    monkeypatch.setattr(command, "measure_export", measured)
    export_run(workdir, formats="safetensors", output=str(tmp_path))
    test = Splits()[load_source(workdir).network.run.data]["test"]
    for images, labels in seen:
        np.testing.assert_array_equal(images, test.images)
        np.testing.assert_array_equal(labels, test.labels)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"networks": {"a": {}}}', '{"networks": [1]}'])
def test_damaged_results_are_named_before_anything_is_exported(text, workdir, tmp_path):
    run = Path(shutil.copytree(workdir, tmp_path / "run"))
    # Where another test exported the shared run.
    shutil.rmtree(run / "export", ignore_errors=True)
    (run / "results.json").write_text(text)
    with pytest.raises(UserError, match=rf"^{run}/results\.json: .*--mode eval$"):
        export_run(run)
    assert not (run / "export").exists()
