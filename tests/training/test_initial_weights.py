"""Weights a run begins with."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from darkrank_jax.config.reader import read_run
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.errors import UserError
from darkrank_jax.models import MODELS
from darkrank_jax.models.pretrained import detect_resnet, load_resnet
from darkrank_jax.models.weights import fit, naming
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training import initial_weights
from darkrank_jax.training.initial_weights import import_network, read_weights, with_weights
from darkrank_jax.training.network import build, embed
from tests.small_runs import WEIGHTS, changed, imported, read, refusal, small

pytestmark = pytest.mark.usefixtures("source")


IMAGENET, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_images_unlike_those_of_the_settings_are_reported_once_in_a_line(tmp_path, caplog):
    content = {"image_mean": IMAGENET, "image_std": SPREAD, "size": 224, "resample": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    for mean, std, size in ((0.5, 0.5, (96, 96)), (IMAGENET, SPREAD, (224, 224))):
        initial_weights.report_settings(str(tmp_path), mean, std, size)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path} was trained on other images, as preprocessor_config.json beside it says, "
        f"resized by bicubic: data.mean is 0.5 and there {IMAGENET}; data.std is 0.5 and there "
        f"{SPREAD}; data.image_size is (96, 96) and there (224, 224)"
    ]


def weights_of(run):
    return read_weights(run.weights, run.model, run.data, 3)


def test_imported_weights_embed_as_the_network_they_are_of(tmp_path):
    run, split = read_run(imported().to_dict(), "teacher"), Splits()[read(small()).data]["test"]
    network = import_network(run, tmp_path, make_mesh(8), 3)
    found = embed(network, split, make_mesh(8))
    mean, std = (np.array(x, np.float32) for x in (run.data.mean, run.data.std))
    images = jnp.asarray((split.images / np.float32(255) - mean) / std, jnp.float32)
    maps = jax.jit(lambda v, x: detect_resnet(WEIGHTS).apply(v, x, train=False))(
        load_resnet(WEIGHTS), images
    )
    expected = maps[-1].mean(axis=(1, 2))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (network.step, network.seconds) == (0, 0.0)


def test_a_teacher_ignores_the_neck_that_its_config_names(tmp_path):
    path = tmp_path / "neck.safetensors"
    save_file({**load_file(WEIGHTS), "bottleneck.weight": np.ones(64, np.float32)}, path)
    config = changed(imported(), weights__path=str(path))
    with pytest.raises(UserError, match=r"set weights.ignore to \('bottleneck.',\)"):
        weights_of(read_run(config.to_dict(), "teacher"))
    config = changed(config, weights__ignore=("bottleneck.",))
    found = weights_of(read_run(config.to_dict(), "teacher"))
    jax.tree.map(
        np.testing.assert_array_equal, found["params"]["backbone"], load_resnet(WEIGHTS)["params"]
    )


def neck(size, rng):
    """A batch norm without a bias, as that of the published baselines."""
    return {
        "heads.bottleneck.0.weight": rng.gamma(2.0, 0.5, size).astype(np.float32),
        "heads.bottleneck.0.running_mean": rng.normal(size=size).astype(np.float32),
        "heads.bottleneck.0.running_var": rng.uniform(0.5, 2.0, size).astype(np.float32),
    }


@pytest.mark.slow
def test_a_baseline_of_re_identification_embeds_behind_its_neck(tmp_path):
    """Under fast-reid's names, whose backbone begins with "backbone." """
    path, rng = tmp_path / "sbs.safetensors", np.random.default_rng(3)
    tensors = {f"backbone.{name}": tensor for name, tensor in load_file(WEIGHTS).items()}
    own = neck(64, rng)
    classifier = {"heads.weight": np.ones((9, 64), np.float32)}
    save_file({**tensors, **own, **classifier}, path)
    fields = {"weights__path": str(path), "weights__ignore": ("heads.",)}
    config = changed(imported(), **fields, model__head_batch_norm=True)
    config = changed(config, weights__neck="heads.bottleneck.0")
    run, split = read_run(config.to_dict(), "teacher"), Splits()[read(small()).data]["test"]
    found = embed(import_network(run, tmp_path, make_mesh(8), 3), split, make_mesh(8))
    plain = read_run(changed(imported(), model__normalize=False).to_dict(), "teacher")
    features = embed(import_network(plain, tmp_path, make_mesh(8), 3), split, make_mesh(8))
    scale, mean, var = own.values()
    expected = (features - mean) / np.sqrt(var + 1e-5) * scale
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_neck_that_is_not_there_or_does_not_fit_is_refused(tmp_path):
    path, rng = tmp_path / "w.safetensors", np.random.default_rng(3)
    own = neck(60, rng)
    save_file({**load_file(WEIGHTS), **own}, path)
    config = changed(imported(), weights__path=str(path), weights__ignore=("heads.",))
    assert refusal(read_run, changed(config, weights__neck="n").to_dict(), "teacher").startswith(
        "teacher.weights.neck: is the embedding's batch norm, and the model has none; set teacher."
    )
    config = changed(config, model__head_batch_norm=True, weights__neck="")
    assert refusal(read_run, config.to_dict(), "teacher").startswith(
        "teacher.weights.neck: must not be empty with teacher.steps of 0, or the embedding's norm "
    )

    def said(name, **tensors):
        save_file({**load_file(WEIGHTS), **own, **tensors}, path)
        run = read_run(changed(config, weights__neck=name).to_dict(), "teacher")
        return refusal(weights_of, run)

    first = "heads.bottleneck.0"
    assert said("neck").startswith(
        f"{path}: has no batch norm 'neck', as neck.weight is missing; it has bn1, "
    )
    assert f"its norm '{first}' is of 60 numbers, and the embedding has 64" in said(first)
    wrong = {f"{first}.bias": np.ones(59, np.float32)}
    assert f"{first}.bias must be of shape (60,) (got (59,))" in said(first, **wrong)
    wrong = {f"{first}.running_var": -np.ones(60, np.float32)}
    assert f"{first}.running_var must be at least 0" in said(first, **wrong)


def test_a_student_starts_from_weights_and_the_files_own_head(tmp_path):
    path = tmp_path / "metric.safetensors"
    head = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)
    save_file({**load_file(WEIGHTS), "fc.weight": head, "fc.bias": np.ones(5)}, path)
    config = imported(embedding_dim=5)
    config.update({"steps": 3, "losses": {"softmax": {"weight": 1.0}}, "ema_decay": 0.5})
    config.weights.update({"path": str(path), "head": "fc"})
    run = read(config)
    shapes = jax.eval_shape(build(run, channels=3, num_classes=7)[2])
    drawn = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    state = with_weights(drawn, weights_of(run))
    loaded = load_resnet(WEIGHTS)
    for params in (state.params["model"], state.ema_params["model"]):
        jax.tree.map(np.testing.assert_array_equal, params["backbone"], loaded["params"])
        np.testing.assert_array_equal(params["embedding"]["kernel"], head.T)
        np.testing.assert_array_equal(params["embedding"]["bias"], 1)
    jax.tree.map(
        np.testing.assert_array_equal, state.batch_stats["backbone"], loaded["batch_stats"]
    )
    assert state.params["class_weights"]["softmax"].shape == (5, 7)
    line = refusal(weights_of, dataclasses.replace(run, model={**run.model, "embedding_dim": 6}))
    assert line.startswith(f"{path}: its layer 'fc' makes 5 numbers of 64, and the model 6 of 64;")


def test_a_file_of_another_width_says_which():
    said = refusal(weights_of, read_run(imported(width=16).to_dict(), "teacher"))
    assert said.endswith("; it looks like resnet18 (width 8): set model.width")


@pytest.mark.slow
def test_a_file_of_another_network_is_named(tmp_path):
    backbone = MODELS["osnet_x0_25"]()
    shapes = fit.torch_shapes(backbone, (64, 32, 3))
    names = {naming.dotted(variable): shape for variable, shape in shapes.items()}
    path = tmp_path / "weights.safetensors"
    save_file({name: np.zeros(shape, np.float32) for name, shape in names.items()}, path)
    config = changed(imported(), weights__path=str(path))
    said = refusal(weights_of, read_run(config.to_dict(), "teacher"))
    assert said.startswith(f"{path}: ")
    assert said.endswith("; it looks like osnet_x0_25: set model.name")
