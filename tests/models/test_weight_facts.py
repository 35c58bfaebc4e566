"""What a file of weights is, folders of repositories, and the settings beside weights."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file
from transformer_files import (
    NETWORKS,
    files,
    golden,
    loaded,
    meta_of_dinov2,
    openai_of_clip,
    rule,
    same,
    small,
    timm_of_clip,
    timm_of_model,
    timm_of_siglip,
    torchvision_of_vit,
    trunk,
    with_text,
)

from configs import default
from darkrank_jax.config.reader import read_run
from darkrank_jax.errors import UserError
from darkrank_jax.models.pretrained import load_weights
from darkrank_jax.models.weight_description import describe_weights
from darkrank_jax.models.weight_settings import Settings, read_settings
from darkrank_jax.training import initial_weights, provenance

__all__ = ["files", "golden", "rule"]


def written(tensors, path):
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)
    return path


@pytest.mark.parametrize(
    ("name", "rename", "owner", "prefix"),
    [
        *((name, dict, "Hugging Face's", "") for name in NETWORKS),
        ("vit", timm_of_model, "timm's", ""),
        ("vit", torchvision_of_vit, "torchvision's", ""),
        ("dinov2_registers", meta_of_dinov2, "Meta's", ""),
        ("clip", openai_of_clip, "open_clip's", ""),
        ("clip", timm_of_clip, "timm's", ""),
        ("clip", with_text, "Hugging Face's", ""),
        ("siglip", lambda tensors: trunk(timm_of_siglip(tensors)), "timm's", "visual.trunk."),
        ("siglip", with_text, "Hugging Face's", ""),
    ],
)
def test_a_transformer_is_told_from_its_file(name, rename, owner, prefix, files, tmp_path):
    path = written(rename(files(name)), tmp_path / "weights.safetensors")
    found = describe_weights(path)
    model, options = NETWORKS[name]
    assert found["model"].startswith(re.match(r"[a-z]+2?_", model)[0])
    expected = {"width": 128, "depth": 2, "patch": 8, **options}
    # It is not in the file.
    expected.pop("activation", None)
    assert found["options"] == expected
    assert (found["names"], found["prefix"], found["grid"]) == (owner, prefix, (4, 4))


def test_a_file_of_something_else_is_refused_and_says_what_it_has(tmp_path):
    path = written({"encoder.weight": np.ones((2, 3))}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"none of the networks of MODELS .* has encoder\.weight$"):
        describe_weights(path)


def test_the_command_prints_what_files_are_and_fails_in_one_line(files, tmp_path):
    path = written(files("dinov2_registers"), tmp_path / "weights.safetensors")
    command = [sys.executable, "-m", "darkrank_jax.models.pretrained", path, tmp_path / "none"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"{path}:\n  model: dinov2_b14\n" in done.stdout
    assert re.fullmatch(r".*/none: cannot be read as safetensors .*\n", done.stderr)


def sharded(tensors, folder):
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for part, held in parts.items():
        written({name: tensors[name] for name in held}, folder / part)
    places = {name: part for part, held in parts.items() for name in held}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


@pytest.mark.parametrize("form", ["model.safetensors", "open_clip_model.safetensors", "index"])
def test_a_folder_of_a_repository_is_a_path(form, files, tmp_path):
    tensors, backbone = files("vit"), small("vit")
    expected = loaded(tensors, tmp_path, backbone)
    folder = tmp_path / "repository"
    folder.mkdir()
    paths = [folder]
    if form == "index":
        paths.append(sharded(tensors, folder))
    else:
        written(tensors, folder / form)
    for path in paths:
        same(load_weights(path, backbone, image_shape=(32, 32, 3)), expected)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("{", "is damaged"),
        ("[]", "must list files of its folder in weight_map"),
        ('{"weight_map": {}}', "must list files of its folder in weight_map"),
        ('{"weight_map": {"a": "../a.safetensors"}}', "must list files of its folder"),
        ('{"weight_map": {"a": null}}', "None: cannot be read as safetensors"),
    ],
)
def test_damaged_indices_are_refused_in_one_line(content, line, tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(UserError) as error:
        load_weights(tmp_path, small("vit"), image_shape=(32, 32, 3))
    assert line in str(error.value)
    assert "\n" not in str(error.value)


HALVES, IMAGENET = (0.5, 0.5, 0.5), (0.485, 0.456, 0.406)
SPREAD = (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ({}, Settings()),
        (
            {
                "config.json": {"image_size": 384, "hidden_act": "gelu"},
                "preprocessor_config.json": {
                    "image_mean": HALVES,
                    "image_std": SPREAD,
                    "size": {"shortest_edge": 256},
                    "do_center_crop": True,
                    "crop_size": {"height": 224, "width": 112},
                    "resample": 3,
                },
            },
            Settings(
                HALVES,
                SPREAD,
                (224, 112),
                "bicubic",
                "gelu",
                ("config.json", "preprocessor_config.json"),
            ),
        ),
        (
            {"config.json": {"vision_config": {"hidden_act": "quick_gelu", "image_size": 336}}},
            Settings(None, None, (336, 336), None, "quick_gelu", ("config.json",)),
        ),
        (
            {
                "config.json": {
                    "architecture": "vit_base_patch16_224",
                    "pretrained_cfg": {
                        "input_size": [3, 224, 192],
                        "interpolation": "bicubic",
                        "mean": IMAGENET,
                        "std": SPREAD,
                    },
                }
            },
            Settings(IMAGENET, SPREAD, (224, 192), "bicubic", None, ("config.json",)),
        ),
        (
            {
                "open_clip_config.json": {
                    "model_cfg": {"quick_gelu": True, "vision_cfg": {"image_size": 224}},
                    "preprocess_cfg": {"mean": IMAGENET, "std": SPREAD},
                }
            },
            Settings(IMAGENET, SPREAD, (224, 224), None, "quick_gelu", ("open_clip_config.json",)),
        ),
        (
            {"preprocessor_config.json": {"do_normalize": False, "size": 96, "resample": 2}},
            Settings(
                (0, 0, 0), (1, 1, 1), (96, 96), "bilinear", None, ("preprocessor_config.json",)
            ),
        ),
    ],
)
def test_settings_beside_weights_are_read(contents, expected, tmp_path):
    for name, content in contents.items():
        (tmp_path / name).write_text(json.dumps(content))
    assert read_settings(tmp_path) == expected
    assert read_settings(tmp_path / "model.safetensors") == expected


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", "[1]"),
        ("config.json", '{"image_size": "large"}'),
        ("config.json", '{"pretrained_cfg": {"mean": 3}}'),
        ("config.json", '{"pretrained_cfg": 3}'),
        ("config.json", '{"vision_config": [3]}'),
        ("preprocessor_config.json", '{"size": [1, 2, 3]}'),
        ("preprocessor_config.json", '{"image_std": ["a"]}'),
        ("preprocessor_config.json", '{"resample": [3]}'),
        ("open_clip_config.json", '{"model_cfg": 4}'),
    ],
)
def test_malformed_settings_are_refused_in_one_line(name, content, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as error:
        read_settings(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(error.value)


def test_another_activation_than_the_settings_have_is_refused(files, tmp_path):
    (tmp_path / "config.json").write_text('{"vision_config": {"hidden_act": "gelu"}}')
    tensors = files("clip")
    with pytest.raises(UserError, match=r"^model.activation: must be 'gelu' for .*quick_gelu"):
        loaded(tensors, tmp_path, small("clip"))
    loaded(tensors, tmp_path, small("clip").clone(activation="gelu"))


def test_settings_tell_a_grid_that_is_not_square(files, tmp_path):
    tensors, backbone = files("siglip"), small("siglip")
    (tmp_path / "config.json").write_text('{"image_size": [64, 16]}')
    positions = tensors["embeddings.position_embedding.weight"]
    found = loaded(tensors, tmp_path, backbone, size=(64, 16))["params"]["pos_embed"]
    np.testing.assert_array_equal(found[0], positions)
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match=r"must be of a square of patches .* 8 x 2 \(got 16"):
        loaded(tensors, tmp_path, backbone, size=(64, 16))


def test_images_unlike_those_of_the_settings_are_reported_once_in_a_line(tmp_path, caplog):
    content = {"image_mean": IMAGENET, "image_std": SPREAD, "size": 224, "resample": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    for mean, std, size in ((0.5, 0.5, (96, 96)), (IMAGENET, SPREAD, (224, 224))):
        initial_weights._report_settings(str(tmp_path), mean, std, size)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path} was trained on other images, as preprocessor_config.json beside it says, "
        f"resized by bicubic: data.mean is 0.5 and there {IMAGENET}; data.std is 0.5 and there "
        f"{SPREAD}; data.image_size is (96, 96) and there (224, 224)"
    ]


def test_digest_of_a_folder_follows_the_files_in_it(tmp_path):
    tensors = {"a": np.ones(3), "b": np.ones(2)}
    sharded(tensors, tmp_path)
    config = default.get_config().to_dict() | {"steps": 0}
    config["weights"]["path"] = str(tmp_path)
    config["model"]["embedding_dim"] = 0
    run = read_run(config, "teacher")
    first = provenance.teacher_digest(run, tmp_path)
    assert provenance.teacher_digest(run, tmp_path) == first != ""
    sharded(tensors | {"b": np.zeros(2)}, tmp_path)
    assert provenance.teacher_digest(run, tmp_path) not in (first, "")
    (tmp_path / "b.safetensors").unlink()
    assert provenance.teacher_digest(run, tmp_path) == ""
