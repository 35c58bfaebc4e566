"""Pretrained ResNets against another implementation, and what a fitting file must hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from darkrank_jax.errors import UserError
from darkrank_jax.models.backbones.resnet import ResNet
from darkrank_jax.models.backbones.vit import ViT
from darkrank_jax.models.pretrained import detect_resnet, load_linear, load_resnet, load_weights
from tests.models.resnet_files import (
    BASIC,
    GOLDEN,
    hugging_face,
    refusal,
    same,
    saved,
)

BOTTLENECK = ResNet((3, 4, 2, 2), True, width=8)


@pytest.mark.parametrize(
    ("name", "backbone"), [("resnet_basic", BASIC), ("resnet_bottleneck", BOTTLENECK)]
)
def test_every_stage_agrees_with_another_implementation(name, backbone):
    golden, path = np.load(GOLDEN / f"{name}.npz"), GOLDEN / f"{name}.safetensors"
    variables = load_resnet(path)
    assert detect_resnet(path) == backbone
    same(variables, load_resnet(path, backbone))
    maps = jax.jit(lambda v, x: backbone.apply(v, x, train=False))(
        variables, jnp.asarray(golden["images_nhwc"])
    )
    assert len(maps) == 5
    for stage, found in enumerate(maps):
        expected = golden[f"stage_{stage}"]
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(maps[-1].mean(axis=(1, 2)), golden["pooled"], rtol=1e-4, atol=1e-4)


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


@pytest.mark.parametrize("stem", ["strided", "small"])
def test_a_3x3_stem_may_be_either_and_is_asked_for(tensors, tmp_path, stem):
    path = tmp_path / "small.safetensors"
    save_file({**tensors, "conv1.weight": tensors["conv1.weight"][:, :, 2:5, 2:5].copy()}, path)
    backbone = detect_resnet(path, stem=stem)
    assert backbone == ResNet((2, 2, 2, 2), False, width=8, stem=stem)
    same(load_resnet(path), load_resnet(path, backbone))
    line = refusal(detect_resnet, path)
    assert f"{path}: is ambiguous, since its 3x3 stem may be 'strided' or 'small'" in line


def test_a_stem_of_several_convolutions_is_refused(tensors, tmp_path):
    path = tmp_path / "deep.safetensors"
    save_file({"conv1.0.weight": tensors.pop("conv1.weight"), **tensors}, path)
    assert f"{path}: has no conv1.weight; give a ResNet whose stem is" in refusal(load_resnet, path)


@pytest.mark.parametrize("shape", [(16, 16, 3), (64, 64, 3), (48, 24, 3)])
def test_position_embeddings_are_resized_to_the_image(tmp_path, shape):
    """As Pillow resizes floats, which filters as timm does."""
    rng, path = np.random.default_rng(6), tmp_path / "vit.safetensors"
    small = ViT(width=64, depth=0, patch=8)
    like = jax.eval_shape(lambda: small.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), False))
    tensors = {
        "cls_token": rng.normal(size=(1, 1, 64)),
        "pos_embed": rng.normal(size=(1, 17, 64)),
        "patch_embed.proj.weight": rng.normal(size=(64, 3, 8, 8)),
        "patch_embed.proj.bias": rng.normal(size=64),
        "norm.weight": rng.normal(size=64),
        "norm.bias": rng.normal(size=64),
    }
    assert len(tensors) == len(jax.tree.leaves(like))
    save_file({name: tensor.astype(np.float32) for name, tensor in tensors.items()}, path)
    found = load_weights(path, small, image_shape=shape)["params"]["pos_embed"]
    np.testing.assert_array_equal(found[:, 0], tensors["pos_embed"][:, 0].astype(np.float32))
    high, wide = shape[0] // 8, shape[1] // 8
    for channel in range(0, 64, 21):
        grid = tensors["pos_embed"][0, 1:, channel].astype(np.float32).reshape(4, 4)
        expected = Image.fromarray(grid).resize((wide, high), Image.Resampling.BICUBIC)
        resized = found[0, 1:, channel].reshape(high, wide)
        np.testing.assert_allclose(resized, np.asarray(expected), atol=1e-5)


def test_a_linear_layer_is_read_by_its_name(tmp_path):
    path = tmp_path / "head.safetensors"
    weight, bias = np.arange(6.0).reshape(2, 3), np.array([7.0, 8.0])
    save_file(
        {"fc.weight": weight, "fc.bias": bias, "embed.weight": weight, "n.weight": bias}, path
    )
    layer = load_linear(path, "fc")
    np.testing.assert_array_equal(layer["kernel"], weight.T)
    np.testing.assert_array_equal(layer["bias"], bias)
    np.testing.assert_array_equal(load_linear(path, "embed")["bias"], [0, 0])
    for name in ("head", "n"):
        line = refusal(load_linear, path, name)
        assert line == f"{path}: has no linear layer {name!r}; it has embed, fc"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda t: t.pop("layer2.0.downsample.0.weight"), "missing: layer2.0.downsample.0.weight;"),
        (lambda t: t.update({"layer1.0.se": t["bn1.bias"]}), "surplus: layer1.0.se;"),
        (
            lambda t: t.update({"conv1.weight": t["conv1.weight"][:, :1].copy()}),
            "of another shape: conv1.weight is (8, 1, 7, 7), not (8, 3, 7, 7);",
        ),
    ],
)
def test_tensors_that_differ_are_named(tensors, tmp_path, change, line):
    change(tensors)
    path = tmp_path / "other.safetensors"
    save_file(tensors, path)
    with pytest.raises(UserError) as error:
        load_resnet(path, BASIC)
    assert f"{path}: is of another architecture; {line}" in str(error.value)
    assert "\n" not in str(error.value)


def test_many_differences_are_counted():
    deeper = ResNet((3, 4, 6, 3), False, width=16)
    with pytest.raises(UserError, match=r"missing: .* and 77 more; of another shape: .* more;"):
        load_resnet(GOLDEN / "resnet_basic.safetensors", deeper)


def test_negative_variances_are_refused(tensors, tmp_path):
    tensors["layer1.0.bn1.running_var"][3] = -0.5
    path = saved(tensors, tmp_path / "negative.safetensors")
    assert refusal(load_resnet, path).startswith(
        f"{path}: variances must be at least 0 (got -0.5 in layer1.0.bn1.running_var); the file"
    )


def test_a_heads_integers_and_sizes_are_checked(tmp_path):
    layer = {"fc.weight": np.ones((2, 3), np.int8), "fc.bias": np.ones(2)}
    path = saved(layer, tmp_path / "head.safetensors")
    assert "(got I8 in fc.weight)" in refusal(load_linear, path, "fc")
    saved({"fc.weight": np.ones((2, 3)), "fc.bias": np.ones(3)}, path)
    assert "fc.bias must be of shape (2,) (got (3,))" in refusal(load_linear, path, "fc")
    saved({"fc.weight": np.ones((2, 3)), "fc.bias": np.array([0, np.nan])}, path)
    assert "(got NaN or infinity in fc.bias)" in refusal(load_linear, path, "fc")


@pytest.mark.parametrize("places", [1, 3, 11])
def test_position_embeddings_of_an_unknown_grid_are_refused(tmp_path, places):
    tensors = {
        "cls_token": np.ones((1, 1, 64)),
        "pos_embed": np.ones((1, places, 64)),
        "patch_embed.proj.weight": np.ones((64, 3, 8, 8)),
        "patch_embed.proj.bias": np.ones(64),
        "norm.weight": np.ones(64),
        "norm.bias": np.ones(64),
    }
    path = saved(tensors, tmp_path / "vit.safetensors")
    small = ViT(width=64, depth=0, patch=8)
    line = refusal(load_weights, path, small, image_shape=(32, 32, 3))
    assert line.startswith(
        f"{path}: pos_embed must be of a square of patches or of the image's 4 x 4 (got {places} "
        "positions, of which 1 of other tokens); give"
    )
