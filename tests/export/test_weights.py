"""Parameters alone, as safetensors."""

import numpy as np
from safetensors.numpy import load_file

from darkrank_jax.export.source import load_source
from darkrank_jax.models.pretrained import load_linear, load_weights


def test_safetensors_start_a_run_of_their_own(exported, workdir):
    path = exported / "model.safetensors"
    names = set(load_file(path))
    assert {"backbone.layer2.0.downsample.1.running_var", "embedding.weight"} <= names
    network = load_source(workdir).network
    given = load_weights(path, network.model.backbone, image_shape=(16, 16, 1), prefix="backbone.")
    params = network.variables["params"]["model"]
    kernel = given["params"]["layer2_0"]["conv1"]["kernel"]
    np.testing.assert_array_equal(kernel, params["backbone"]["layer2_0"]["conv1"]["kernel"])
    layer = load_linear(path, "embedding")
    np.testing.assert_array_equal(layer["kernel"], params["embedding"]["kernel"])
