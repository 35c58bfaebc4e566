"""Files under other projects' names give the same network."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from darkrank_jax.models.backbones.resnet import ResNet
from darkrank_jax.models.pretrained import detect_resnet, load_resnet
from darkrank_jax.models.weights.names import NAMINGS, namings_of
from darkrank_jax.models.weights.naming import Naming, by_name, dotted
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


def test_a_class_has_its_own_namings_before_those_of_what_it_inherits_from(monkeypatch):
    class Own(ResNet):
        pass

    inherited = namings_of(Own((1, 1, 1, 1), False))
    assert [each.owner for each in inherited] == ["torchvision's or timm's", "Hugging Face's"]
    own = Naming("our", by_name(lambda variable: "our." + dotted(variable)))
    monkeypatch.setitem(NAMINGS, Own, lambda backbone: (own,))
    (found,) = namings_of(Own((1, 1, 1, 1), False))
    assert found.source(("params", "conv1", "kernel")).names == ("our.conv1.weight",)
    assert namings_of(ResNet((1, 1, 1, 1), False))[0].owner == "torchvision's or timm's"
