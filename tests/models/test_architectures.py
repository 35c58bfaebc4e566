"""Every architecture but ResNet: its size, its shapes, and what others compute with its weights."""

import importlib.util
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from darkrank_jax.errors import UserError
from darkrank_jax.models import MODELS, build_model
from darkrank_jax.models.pretrained import load_weights

GOLDEN = Path(__file__).parent.parent / "golden"
# The published count of parameters (torchvision's, timm's; pretrainedmodels' for Inception-BN), and
# what its classifier of 1000 classes has of them.
PUBLISHED = {
    "mobilenet_v2": (3_504_872, 1000 * (1280 + 1)),
    # Two linear layers.
    "mobilenet_v3_large": (5_483_032, 1280 * (960 + 1) + 1000 * (1280 + 1)),
    "mobilenet_v3_small": (2_542_856, 1024 * (576 + 1) + 1000 * (1024 + 1)),
    "efficientnet_b0": (5_288_548, 1000 * (1280 + 1)),
    "efficientnet_b1": (7_794_184, 1000 * (1280 + 1)),
    "efficientnet_b2": (9_109_994, 1000 * (1408 + 1)),
    "efficientnet_b3": (12_233_232, 1000 * (1536 + 1)),
    "efficientnet_b4": (19_341_616, 1000 * (1792 + 1)),
    "efficientnet_lite0": (4_652_008, 1000 * (1280 + 1)),
    "efficientnet_lite2": (6_092_072, 1000 * (1280 + 1)),
    # A norm before the linear layer.
    "convnext_tiny": (28_589_128, 2 * 768 + 1000 * (768 + 1)),
    "convnext_small": (50_223_688, 2 * 768 + 1000 * (768 + 1)),
    "convnext_base": (88_591_464, 2 * 1024 + 1000 * (1024 + 1)),
    "convnext_large": (197_767_336, 2 * 1536 + 1000 * (1536 + 1)),
    "convnextv2_tiny": (28_635_496, 2 * 768 + 1000 * (768 + 1)),
    "convnextv2_base": (88_717_800, 2 * 1024 + 1000 * (1024 + 1)),
    "convnextv2_large": (197_956_840, 2 * 1536 + 1000 * (1536 + 1)),
    "vit_t16": (5_717_416, 1000 * (192 + 1)),
    "vit_s16": (22_050_664, 1000 * (384 + 1)),
    "vit_b16": (86_567_656, 1000 * (768 + 1)),
    "vit_l16": (304_326_632, 1000 * (1024 + 1)),
    # Two classifiers.
    "deit_t16": (5_910_800, 2 * 1000 * (192 + 1)),
    "deit_s16": (22_436_432, 2 * 1000 * (384 + 1)),
    "deit_b16": (87_338_192, 2 * 1000 * (768 + 1)),
    # Of images of 518 pixels, with a token for masked patches.
    "dinov2_s14": (22_056_576, (37**2 - 16**2 + 1) * 384),
    "dinov2_b14": (86_580_480, (37**2 - 16**2 + 1) * 768),
    "dinov2_l14": (304_368_640, (37**2 - 16**2 + 1) * 1024),
    "clip_vit_b32": (87_849_216, 0),
    "clip_vit_b16": (86_192_640, 0),
    "clip_vit_l14": (303_966_208, 0),
    "siglip_b16": (92_884_224, 0),
    # Of images of 256 pixels.
    "siglip_l16": (315_956_224, (16**2 - 14**2) * 1024),
    "inception_bn": (11_295_240, 1000 * (1024 + 1)),
    # torchreid's, with a linear layer to 512 numbers and its norm before the linear layer.
    "osnet_x1_0": (2_682_508, 512 * (512 + 1 + 2) + 1000 * (512 + 1)),
    "osnet_x0_75": (1_798_754, 512 * (384 + 1 + 2) + 1000 * (512 + 1)),
    "osnet_x0_5": (1_143_034, 512 * (256 + 1 + 2) + 1000 * (512 + 1)),
    "osnet_x0_25": (714_864, 512 * (128 + 1 + 2) + 1000 * (512 + 1)),
    # Caffe's Network in Network for ImageNet has 7,595,176. Here the last 1x1 convolution has 1024
    # channels instead of 1000, and 12 norms follow, of two numbers a channel.
    "nin_bn": (
        7_595_176 + 24 * (1024 + 1) + 2 * 3 * (96 + 256 + 384 + 1024),
        0,
    ),
}
# Side and channels of each map of an image of 224 pixels.
SHAPES = {
    "mobilenet_v2": [(112, 16), (56, 24), (28, 32), (14, 96), (7, 1280)],
    "mobilenet_v3_large": [(112, 16), (56, 24), (28, 40), (14, 112), (7, 960)],
    "mobilenet_v3_small": [(112, 16), (56, 16), (28, 24), (14, 48), (7, 576)],
    "efficientnet_b0": [(112, 16), (56, 24), (28, 40), (14, 112), (7, 1280)],
    "efficientnet_b1": [(112, 16), (56, 24), (28, 40), (14, 112), (7, 1280)],
    "efficientnet_b2": [(112, 16), (56, 24), (28, 48), (14, 120), (7, 1408)],
    "efficientnet_b3": [(112, 24), (56, 32), (28, 48), (14, 136), (7, 1536)],
    "efficientnet_b4": [(112, 24), (56, 32), (28, 56), (14, 160), (7, 1792)],
    "efficientnet_lite0": [(112, 16), (56, 24), (28, 40), (14, 112), (7, 1280)],
    "efficientnet_lite2": [(112, 16), (56, 24), (28, 48), (14, 120), (7, 1280)],
    "convnext_tiny": [(56, 96), (56, 96), (28, 192), (14, 384), (7, 768)],
    "convnext_small": [(56, 96), (56, 96), (28, 192), (14, 384), (7, 768)],
    "convnext_base": [(56, 128), (56, 128), (28, 256), (14, 512), (7, 1024)],
    "convnext_large": [(56, 192), (56, 192), (28, 384), (14, 768), (7, 1536)],
    "convnextv2_tiny": [(56, 96), (56, 96), (28, 192), (14, 384), (7, 768)],
    "convnextv2_base": [(56, 128), (56, 128), (28, 256), (14, 512), (7, 1024)],
    "convnextv2_large": [(56, 192), (56, 192), (28, 384), (14, 768), (7, 1536)],
    "vit_t16": [(14, 192), (14, 192), (1, 192)],
    "vit_s16": [(14, 384), (14, 384), (1, 384)],
    "vit_b16": [(14, 768), (14, 768), (1, 768)],
    "vit_l16": [(14, 1024), (14, 1024), (1, 1024)],
    "deit_t16": [(14, 192), (14, 192), (1, 192)],
    "deit_s16": [(14, 384), (14, 384), (1, 384)],
    "deit_b16": [(14, 768), (14, 768), (1, 768)],
    "dinov2_s14": [(16, 384), (16, 384), (1, 384)],
    "dinov2_b14": [(16, 768), (16, 768), (1, 768)],
    "dinov2_l14": [(16, 1024), (16, 1024), (1, 1024)],
    "clip_vit_b32": [(7, 768), (7, 768), (1, 512)],
    "clip_vit_b16": [(14, 768), (14, 768), (1, 512)],
    "clip_vit_l14": [(16, 1024), (16, 1024), (1, 768)],
    "siglip_b16": [(14, 768), (14, 768), (1, 768)],
    "siglip_l16": [(14, 1024), (14, 1024), (1, 1024)],
    "inception_bn": [(112, 64), (56, 192), (28, 320), (14, 608), (7, 1024)],
    "nin_bn": [(54, 96), (27, 256), (13, 384), (6, 1024)],
    "osnet_x1_0": [(112, 64), (56, 256), (28, 384), (14, 512)],
    "osnet_x0_75": [(112, 48), (56, 192), (28, 288), (14, 384)],
    "osnet_x0_5": [(112, 32), (56, 128), (28, 192), (14, 256)],
    "osnet_x0_25": [(112, 16), (56, 64), (28, 96), (14, 128)],
}
# How wide tests/golden/models.npz has them.
NARROW = {
    "convnext_tiny": {"width": 24},
    "efficientnet_b0": {"width": 0.25},
    "inception_bn": {},
    "mobilenet_v2": {"width": 0.25},
    "mobilenet_v3_large": {"width": 0.25},
    "mobilenet_v3_small": {"width": 0.25},
    "nin_bn": {"width": 0.25},
    "osnet_x0_25": {},
    "vit_s16": {"width": 128, "depth": 3},
}


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


def test_every_architecture_is_here_or_a_resnet():
    assert set(PUBLISHED) == set(SHAPES) == {n for n in MODELS if not n.startswith("resnet")}


# Deep ones take long to trace; others of their kind stay.
DEEP = {n for n in PUBLISHED if n.endswith(("_l14", "_l16", "_t16"))}
DEEP |= {"vit_b16", "deit_b16", "dinov2_b14", "clip_vit_b16", "convnext_small"}
DEEP |= {"convnext_base", "convnext_large", "convnextv2_base", "convnextv2_large"}
DEEP |= {
    "osnet_x0_25",
    "osnet_x0_5",
    "osnet_x0_75",
    *(f"efficientnet_b{number}" for number in range(1, 8)),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in DEEP else ()) for n in PUBLISHED]
)
def test_parameters_and_shapes_are_those_published(name):
    maps, variables = shapes(MODELS[name]())
    published, classifier = PUBLISHED[name]
    leaves = jax.tree.leaves(variables["params"])
    assert sum(leaf.size for leaf in leaves) == published - classifier
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
    assert [each.shape for each in maps] == [(2, side, side, c) for side, c in SHAPES[name]]


# Those that take longest have their blocks in common with others.
SLOW = {"efficientnet_b0", "inception_bn", "mobilenet_v3_large", "osnet_x0_25"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in NARROW]
)
def test_outputs_agree_with_another_implementation(name, tmp_path):
    """Its names, its layout, its values: all go through the loader of weights."""
    rule, golden = load_rule(), np.load(GOLDEN / "models.npz")
    tensors = {}
    for line in golden[f"{name}/tensors"]:
        key, shape = line.split(" ")
        tensors[key] = rule.parameter(key, tuple(map(int, shape.split("x"))))
    path, side = tmp_path / "weights.safetensors", int(golden[f"{name}/side"])
    save_file(tensors, path)
    backbone = MODELS[name](**NARROW[name])
    variables = load_weights(path, backbone, image_shape=(side, side, 3))
    images = jnp.asarray(rule.images(side))
    maps = jax.jit(lambda v, x: backbone.apply(v, x, train=False))(variables, images)
    # The golden values of a ViT are its class token and the mean of its patch tokens.
    kept = (maps[2], maps[1]) if name == "vit_s16" else maps[-1:]
    found = np.concatenate([each.mean(axis=(1, 2)) for each in kept], axis=1)
    expected = golden[f"{name}/output"]
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["nin_bn", "inception_bn", "osnet_x0_25", "mobilenet_v3_small"])
def test_maps_of_an_image_that_is_not_square_and_in_half_precision(name):
    """Market-1501's crops, and sizes at which Caffe's windows are filled in part."""
    backbone = MODELS[name](dtype=jnp.bfloat16)
    maps, _ = shapes(backbone, size=(224, 112), train=True)
    assert {each.dtype for each in maps} == {jnp.dtype("bfloat16")}
    (_, high, wide, _), (side, _) = maps[-1].shape, SHAPES[name][-1]
    assert (high, wide) == (side, {"nin_bn": 3}.get(name, -(-side // 2)))


def test_dropout_of_nin_bn_is_in_training_alone():
    backbone = MODELS["nin_bn"](width=0.02)
    images = jax.random.normal(jax.random.key(0), (2, 40, 40, 3))
    variables = jax.jit(lambda: backbone.init(jax.random.key(1), images, train=False))()

    @jax.jit
    def last(key):
        maps, _ = backbone.apply(
            variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        return maps[-2], maps[-1]

    before, after = last(jax.random.key(2)), last(jax.random.key(3))
    np.testing.assert_array_equal(before[0], after[0])
    assert not np.array_equal(before[1], after[1])


def test_a_class_token_is_embedded_whatever_the_pooling():
    images = jax.random.normal(jax.random.key(0), (2, 16, 32, 3))
    options = {"width": 64, "depth": 1, "patch": 8, "embedding_dim": 0, "normalize": False}
    models = [
        build_model("vit_s16", tokens=tokens, pooling=pooling, **options)
        for tokens, pooling in (("class", "average"), ("class", "max"), ("patch", "average"))
    ]
    average, largest, patches = jax.jit(
        lambda: [m.init_with_output(jax.random.key(1), images, train=False)[0] for m in models]
    )()
    np.testing.assert_array_equal(average["embeddings"], largest["embeddings"])
    assert [each.shape for each in patches["maps"]] == [(2, 2, 4, 64), (2, 2, 4, 64)]
    np.testing.assert_allclose(
        patches["embeddings"], average["maps"][1].mean(axis=(1, 2)), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "options", "side", "line"),
    [
        ("vit_s16", {}, 40, "data.image_size: images of 40 x 40 pixels are no whole number of "),
        ("vit_s16", {"width": 100}, 32, "model.width: is 100; give a multiple of 64"),
        ("siglip_b16", {"tokens": "class"}, 32, "model.tokens: is 'class', and the network has no"),
        ("dinov2_s14", {"registers": -1}, 28, "model.registers: is -1; give 0 or more"),
        ("clip_vit_b32", {"projection": -4}, 32, "model.projection: is -4; give 0 or more"),
        ("nin_bn", {}, 10, "data.image_size: images of 10 x 10 pixels are smaller than the first"),
    ],
)
def test_refuses_images_that_do_not_fit(name, options, side, line):
    with pytest.raises(UserError) as error:
        shapes(MODELS[name](**options), size=(side, side))
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


WEIGHTS = Path(os.environ.get("DARKRANK_WEIGHTS", ""))


@pytest.mark.skipif("DARKRANK_WEIGHTS" not in os.environ, reason="DARKRANK_WEIGHTS is not set")
@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite2", "mobilenet_v2"])
def test_weights_of_imagenet_fill_every_variable(name):
    path = WEIGHTS / f"{name}.safetensors"
    variables = load_weights(path, MODELS[name](), image_shape=(97, 97, 3))
    published, classifier = PUBLISHED[name]
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == published - classifier
