"""timm's files of MobileNetV2 and EfficientNet give timm's values."""

import json

import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import save_file

from darkrank_jax.errors import UserError
from darkrank_jax.models import MODELS
from darkrank_jax.models.pretrained import describe_weights, load_weights
from darkrank_jax.models.weights.fit import torch_axes
from darkrank_jax.models.weights.timm_names import mobilenet_v2_source
from tests.models.backbones.architectures import check_outputs, shapes

NAMES = [
    pytest.param("efficientnet_b0", marks=pytest.mark.slow),
    pytest.param("efficientnet_lite0", marks=pytest.mark.slow),
    "mobilenet_v2",
]


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_timms(name, tmp_path):
    backbone = MODELS[name](width=0.25)
    check_outputs(f"timm_{name}", tmp_path, backbone=backbone)
    path = tmp_path / "weights.safetensors"
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


@pytest.mark.slow
def test_a_file_of_timms_names_is_told(tmp_path):
    """Of the published width, since no other is looked for."""
    _, variables = shapes(MODELS["mobilenet_v2"](), (64, 64))
    tensors = {}
    for variable, leaf in traverse_util.flatten_dict(variables).items():
        (name,) = mobilenet_v2_source(variable).names
        shape = [leaf.shape[axis] for axis in torch_axes(leaf.ndim)]
        tensors[name] = np.zeros(shape, np.float16)
    save_file(tensors, tmp_path / "weights.safetensors")
    said = describe_weights(tmp_path / "weights.safetensors")
    assert (said["model"], said["options"]) == ("mobilenet_v2", {})
