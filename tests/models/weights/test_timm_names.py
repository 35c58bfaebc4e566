"""timm's files of MobileNets and EfficientNet give timm's values."""

import json

import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import save_file

from darkrank_jax.errors import UserError
from darkrank_jax.models import MODELS
from darkrank_jax.models.pretrained import describe_weights, load_weights
from darkrank_jax.models.weights.fit import torch_axes
from darkrank_jax.models.weights.names import namings_of
from tests.models.backbones.architectures import NETWORKS, check_outputs, shapes

NAMES = [
    pytest.param("efficientnet_b0", marks=pytest.mark.slow),
    pytest.param("efficientnet_lite0", marks=pytest.mark.slow),
    "mobilenet_v2",
    pytest.param("mobilenet_v3_large", marks=pytest.mark.slow),
    pytest.param("mobilenet_v3_small", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_timms(name, tmp_path):
    check_outputs(f"timm_{name}", tmp_path)
    path, (_, backbone) = tmp_path / "weights.safetensors", NETWORKS[f"timm_{name}"]
    # What pads alike and is timm's own goes on.
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": name, "input_size": [3, 9, 9]})
    )
    load_weights(path, backbone, image_shape=(64, 64, 3))
    content = {"architecture": f"tf_{name}", "pretrained_cfg": {"input_size": [3, 224, 224]}}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(UserError) as raised:
        load_weights(path, backbone, image_shape=(64, 64, 3))
    assert str(raised.value) == (
        f"{path}: must be padded alike on all sides (got tf_{name}, which pads as TensorFlow "
        f"does); give the weights of {name}"
    )


def saved(name, folder):
    """A file of zeros under timm's names, of the published width, since no other is looked for."""
    backbone = MODELS[name]()
    _, variables = shapes(backbone, (64, 64))
    timms = namings_of(backbone)[1]
    tensors = {"conv_head.bias": np.zeros(3, np.float16)} if "v3" in name else {}
    for variable, leaf in traverse_util.flatten_dict(variables).items():
        shape = [leaf.shape[axis] for axis in torch_axes(leaf.ndim)]
        tensors[timms.source(variable).names[0]] = np.zeros(shape, np.float16)
    save_file(tensors, folder / "weights.safetensors")
    return folder / "weights.safetensors"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mobilenet_v2", {}),
        ("mobilenet_v3_large", {"norm_epsilon": 1e-5}),
        ("mobilenet_v3_small", {"norm_epsilon": 1e-5}),
    ],
)
def test_a_file_of_timms_names_is_told(name, options, tmp_path):
    said = describe_weights(saved(name, tmp_path))
    assert (said["model"], said["options"]) == (name, options)


def test_norms_of_another_epsilon_than_timms_are_refused(tmp_path):
    path = saved("mobilenet_v3_small", tmp_path)
    with pytest.raises(UserError) as raised:
        load_weights(path, MODELS["mobilenet_v3_small"](), image_shape=(64, 64, 3))
    assert str(raised.value) == (
        f"{path}: was trained with norm_epsilon 1e-05, as timm's names tell (got 0.001); set "
        "model.norm_epsilon to 1e-05"
    )
