"""What holds for every architecture: published sizes, and the values of other implementations."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from darkrank_jax.models import MODELS
from darkrank_jax.models.backbones.resnet import ResNet
from darkrank_jax.models.backbones.vit import ViT
from darkrank_jax.models.pretrained import load_weights
from tests.marks import slow_but

GOLDEN = Path(__file__).parent.parent.parent / "golden"
FEW = (2, 1, 1, 1)
# Network of models.npz -> whose it is, and its backbone, as narrow and shallow as there.
NETWORKS = {
    "convnext_tiny": ("torchvision", MODELS["convnext_tiny"](width=24)),
    "efficientnet_b0": ("torchvision", MODELS["efficientnet_b0"](width=0.25)),
    "inception_bn": ("pretrainedmodels", MODELS["inception_bn"]()),
    "mobilenet_v2": ("torchvision", MODELS["mobilenet_v2"](width=0.25)),
    "mobilenet_v3_large": ("torchvision", MODELS["mobilenet_v3_large"](width=0.25)),
    "mobilenet_v3_small": ("torchvision", MODELS["mobilenet_v3_small"](width=0.25)),
    "nin_bn": ("the paper", MODELS["nin_bn"](width=0.25)),
    "osnet_x0_25": ("torchreid", MODELS["osnet_x0_25"]()),
    "resnet18_ibn_a": ("IBN-Net", ResNet(FEW, False, ibn=True, last_stride=1)),
    "resnet50_ibn_a": ("IBN-Net", MODELS["resnet50_ibn_a"]().clone(blocks=FEW, last_stride=1)),
    "resnet50d": ("timm", MODELS["resnet50d"]().clone(blocks=FEW)),
    "resnext50_32x4d": ("torchvision", MODELS["resnext50_32x4d"]().clone(blocks=FEW)),
    "timm_efficientnet_b0": ("timm", MODELS["efficientnet_b0"](width=0.25)),
    "timm_efficientnet_lite0": ("timm", MODELS["efficientnet_lite0"](width=0.25)),
    "timm_mobilenet_v2": ("timm", MODELS["mobilenet_v2"](width=0.25)),
    "timm_mobilenet_v3_large": ("timm", MODELS["mobilenet_v3_large"](norm_epsilon=1e-5)),
    "timm_mobilenet_v3_small": ("timm", MODELS["mobilenet_v3_small"](norm_epsilon=1e-5)),
    "vit_s16": ("timm", MODELS["vit_s16"](width=128, depth=3)),
}


def every_network(module, *, slow=()):
    """Tests of all networks of MODELS whose backbone is of a module; some take long to trace."""
    names = [name for name in MODELS if type(MODELS[name]()).__module__ == module.__name__]
    assert names
    return pytest.mark.parametrize("name", slow_but(lambda name: name not in slow, names))


def load_rule():
    """tests/golden/models.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("golden_models", GOLDEN / "models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shapes(backbone, size=(224, 224), train=False):
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return jax.eval_shape(lambda x: backbone.init_with_output(keys, x, train=train), images)


def check_published(name, published, classifier, shapes_of_maps):
    """The count of parameters, less those of its classifier, and side and channels of each map."""
    maps, variables = shapes(MODELS[name]())
    leaves = jax.tree.leaves(variables["params"])
    assert sum(leaf.size for leaf in leaves) == published - classifier
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
    assert [each.shape for each in maps] == [(2, side, side, c) for side, c in shapes_of_maps]


def difference(name, folder, size=0):
    """The greatest difference of pooled maps from another implementation's, relative to them.

    Its names, its layout, its values: all go through the loader of weights.
    """
    rule, tensors = load_rule(), {}
    with np.load(GOLDEN / "models.npz") as arrays:
        golden = {key: arrays[key] for key in arrays if key.startswith(f"{name}/")}
    for line in golden[f"{name}/tensors"]:
        key, shape = line.split(" ")
        tensors[key] = rule.parameter(key, tuple(map(int, shape.split("x"))))
    path, (height, width) = folder / "weights.safetensors", rule.sizes(name)[size]
    save_file(tensors, path)
    _, backbone = NETWORKS[name]
    variables = load_weights(path, backbone, image_shape=(height, width, 3))
    images = jnp.asarray(rule.images(height, width))
    maps = jax.jit(lambda v, x: backbone.apply(v, x, train=False))(variables, images)
    kept = (maps[2], maps[1]) if isinstance(backbone, ViT) else maps[-1:]
    found = np.concatenate([each.mean(axis=(1, 2)) for each in kept], axis=1)
    expected = golden[f"{name}/{height}x{width}"]
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()


def check_outputs(name, folder, size=0):
    """A network of NETWORKS against another implementation's."""
    assert difference(name, folder, size) < 1e-4
