"""Exports of a run: every format loaded again, what is beyond the tolerance deleted."""

import dataclasses
import importlib.util
import json
import shutil

import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from jax import export as jax_export
from safetensors.numpy import load_file

import darkrank_jax
from darkrank_jax.errors import UserError
from darkrank_jax.export import card, command, deviation, formats
from darkrank_jax.export.command import export_run
from darkrank_jax.export.deviation import fault
from darkrank_jax.export.onnx import write_onnx
from darkrank_jax.export.source import load_source
from darkrank_jax.models.pretrained import load_linear, load_weights
from darkrank_jax.runs.splits import Splits
from tests.drawn_runs import make_workdir

FILES = {name: kind.file for name, kind in formats.FORMATS.items()}


@pytest.fixture(scope="module")
def exported(workdir):
    with pytest.MonkeyPatch.context() as patch:
        # A network that never learnt ranks 20 images by chance.
        patch.setattr(deviation, "RECALL", 1.0)
        export_run(workdir)
    return workdir / "export"


@pytest.fixture(scope="module")
def network(workdir):
    return darkrank_jax.load_run(workdir)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(5).integers(0, 256, (5, 16, 16, 1), np.uint8)


@pytest.mark.parametrize("name", FILES)
def test_a_file_embeds_as_the_run_does(name, exported, network, images):
    loaded = darkrank_jax.load_run(exported / FILES[name])
    assert loaded.facts == network.facts
    found, expected = loaded.embed(images), network.embed(images)
    if formats.FORMATS[name].exact:
        np.testing.assert_allclose(found, expected, atol=2e-6)
    else:
        assert 1e-6 < np.abs(found - expected).max() < 0.1
        assert np.sum(found * expected, axis=1).min() > 0.98


def test_the_run_embeds_what_its_checkpoint_says(workdir, network, images):
    source = load_source(workdir)
    expected = source.embed(jnp.asarray(images))
    np.testing.assert_allclose(network.embed(images), expected, atol=2e-6)
    assert np.linalg.norm(network.embed(images), axis=1) == pytest.approx(np.ones(5), rel=1e-5)


def test_int8_is_smaller(exported):
    sizes = {name: (exported / file).stat().st_size for name, file in FILES.items()}
    assert sizes["stablehlo_int8"] < 0.7 * sizes["stablehlo"]
    assert sizes["onnx_int8"] < 0.7 * sizes["onnx"]


def test_kernels_in_onnx_int8_have_seven_bits(exported):
    # More would saturate where the processor has no VNNI, and pass wherever this test runs on one.
    model = onnx.load(exported / FILES["onnx_int8"])
    sizes = [
        np.abs(onnx.numpy_helper.to_array(tensor).astype(int)).max()
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and tensor.dims and len(tensor.dims) > 1
    ]
    assert len(sizes) > 9
    assert {*sizes} == {64}


def test_onnx_has_opset_17_a_free_batch_and_bytes_in(exported):
    model = onnx.load(exported / FILES["onnx"])
    assert model.opset_import[0].version == 17
    (taken,) = model.graph.input
    shape = [dim.dim_param or dim.dim_value for dim in taken.type.tensor_type.shape.dim]
    assert (taken.name, shape) == ("images", ["batch", 16, 16, 1])
    assert taken.type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_stablehlo_is_for_every_platform(exported, images):
    loaded = jax_export.deserialize(bytearray((exported / FILES["stablehlo"]).read_bytes()))
    assert loaded.platforms == ("cpu", "cuda", "tpu")
    for size in (1, 4):
        assert loaded.call(images[:size]).shape == (size, 8)


def test_safetensors_start_a_run_of_their_own(exported, workdir):
    path = exported / FILES["safetensors"]
    names = set(load_file(path))
    assert {"backbone.layer2.0.downsample.1.running_var", "embedding.weight"} <= names
    network = load_source(workdir).network
    given = load_weights(path, network.model.backbone, image_shape=(16, 16, 1), prefix="backbone.")
    params = network.variables["params"]["model"]
    kernel = given["params"]["layer2_0"]["conv1"]["kernel"]
    np.testing.assert_array_equal(kernel, params["backbone"]["layer2_0"]["conv1"]["kernel"])
    layer = load_linear(path, "embedding")
    np.testing.assert_array_equal(layer["kernel"], params["embedding"]["kernel"])


def test_the_card_says_what_was_measured(exported, workdir):
    text = (exported / "model_card.md").read_text()
    for file in FILES.values():
        assert f"| {file} |" in text
    assert "resnet10" in text
    assert load_source(workdir).facts["fingerprint"] in text
    assert "license: # of this model: fill in" in text
    assert "an image of 16 x 16 pixels and\n1 channel into 8 numbers" in text
    assert "an image is cut to the largest middle part of that shape, and resized" in text


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.0, "an image is taken whole, whatever its shape"),
        (0.875, "an image is cut to 0.875 of the largest middle part of that shape"),
        (1.0, "an image is cut to the largest middle part of that shape"),
    ],
)
def test_the_card_says_how_images_are_cut(share, said):
    assert card._cut(share) == said


def test_an_image_is_taken_whole_where_the_network_saw_them_so(network):
    wide = np.random.default_rng(3).integers(0, 256, (16, 48, 1), np.uint8)
    whole = dataclasses.replace(network, facts=network.facts | {"center_crop": 0.0})
    # Three columns become one; the middle third alone is another picture.
    means = wide.reshape(16, 16, 3).mean(axis=2)
    assert np.abs(whole.prepare(wide)[:, :, 0] - means).mean() < 20
    assert np.abs(network.prepare(wide)[:, :, 0] - means).mean() > 40


def test_formats_that_cannot_be_written_are_left_out_by_default(workdir, monkeypatch, capsys):
    there = importlib.util.find_spec
    hidden = ("onnx", "onnxruntime")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in hidden else there(name)
    )
    assert command._names("") == ["stablehlo", "safetensors", "stablehlo_int8"]
    said = capsys.readouterr().out.splitlines()
    assert said[0] == (
        "model.onnx            left out, needs onnx and onnxruntime: "
        'pip install "darkrank-jax[export]"'
    )
    assert said[1].startswith("model_int8.onnx       left out, needs onnx and")
    with pytest.raises(UserError) as raised:
        command._names("safetensors,onnx")
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


@pytest.mark.parametrize(
    ("measured", "exact", "said"),
    [
        ({"max_difference": 9e-5}, True, ""),
        ({"max_difference": float("nan")}, True, "differs from the model by nan"),
        ({"mean_cosine": 0.97, "recall_at_1": 0.9}, False, "has a mean cosine of 0.970"),
        ({"mean_cosine": 0.99, "recall_at_1": 0.48}, False, "loses 0.020 of Recall@1, more than"),
        ({"mean_cosine": 0.99, "recall_at_1": 0.495}, False, ""),
        ({"mean_cosine": 0.99, "recall_at_1": 0.6}, False, ""),
    ],
)
def test_the_tolerance(measured, exact, said):
    found = fault(measured, 0.5, exact=exact)
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_fingerprints_differ_where_embeddings_do(workdir, other_workdir, tmp_path):
    facts = [load_source(path).facts for path in (workdir, other_workdir)]
    assert facts[0]["fingerprint"] != facts[1]["fingerprint"]
    moved = shutil.copytree(workdir, tmp_path / "moved")
    assert load_source(moved).facts["fingerprint"] == facts[0]["fingerprint"]


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


def test_refuses_files_that_are_no_exports(exported, tmp_path):
    for name, text in [("a.onnx", "no"), ("a.safetensors", "no"), ("a.stablehlo", "no")]:
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=rf"^{tmp_path / name}"):
            darkrank_jax.load_run(tmp_path / name)
    stranger = onnx.load(exported / FILES["onnx"])
    del stranger.metadata_props[:]
    onnx.save(stranger, tmp_path / "stranger.onnx")
    with pytest.raises(UserError, match="so --mode export or embed did not write it"):
        darkrank_jax.load_run(tmp_path / "stranger.onnx")
    beside = exported / f"{FILES['stablehlo']}.json"
    (tmp_path / "b.stablehlo").write_bytes((exported / FILES["stablehlo"]).read_bytes()[:-99])
    (tmp_path / "b.stablehlo.json").write_text(beside.read_text())
    with pytest.raises(UserError, match=r"does not belong to b\.stablehlo\.json, or is damaged"):
        darkrank_jax.load_run(tmp_path / "b.stablehlo")
    with pytest.raises(UserError, match="is no workdir of a run, and no export"):
        darkrank_jax.load_run(tmp_path / "nothing")


def test_refuses_a_run_of_another_version(workdir, tmp_path):
    workdir = shutil.copytree(workdir, tmp_path / "old")
    facts = json.loads((workdir / "run.json").read_text())
    del facts["run"]["weights"]
    (workdir / "run.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match="was trained by another version"):
        load_source(workdir)


def test_onnxruntime_runs_the_file_without_this_package(exported, network, images):
    session = onnxruntime.InferenceSession(exported / FILES["onnx"])
    (found,) = session.run(None, {"images": images})
    np.testing.assert_allclose(found, network.embed(images), atol=2e-6)
