"""Files under other projects' names give the same network."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from darkrank_jax.models.pretrained import detect_resnet, load_resnet
from tests.models.resnet_files import GOLDEN, hugging_face
from tests.models.saved_weights import same


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"module.{name}",
        hugging_face,
        lambda name: f"resnet.{hugging_face(name)}".replace("resnet.classifier", "classifier"),
    ],
    ids=["DataParallel", "ResNetModel", "ResNetForImageClassification"],
)
@pytest.mark.parametrize("name", ["resnet_basic", "resnet_bottleneck"])
def test_other_names_of_the_same_network_are_told_by_the_file(name, rename, tmp_path):
    tensors = load_file(GOLDEN / f"{name}.safetensors")
    tensors |= {"fc.weight": np.ones((5, 4)), "fc.bias": np.ones(5)}
    tensors["bn1.num_batches_tracked"] = np.asarray(3)
    path = tmp_path / "renamed.safetensors"
    save_file({rename(key): tensor for key, tensor in tensors.items()}, path)
    original = GOLDEN / f"{name}.safetensors"
    same(load_resnet(path), load_resnet(original))
    assert detect_resnet(path) == detect_resnet(original)
