"""Settings beside weights: what is read of them, and malformed ones."""

import json

import pytest

from darkrank_jax.errors import UserError
from darkrank_jax.models.weights.settings import Settings, read_settings

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
            Settings(
                IMAGENET,
                SPREAD,
                (224, 192),
                "bicubic",
                files=("config.json",),
                architecture="vit_base_patch16_224",
            ),
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
