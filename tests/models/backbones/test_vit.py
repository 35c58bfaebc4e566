"""Vision transformers against Hugging Face's and timm's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transformer_files import NETWORKS, SIZES, loaded, small

from darkrank_jax.errors import UserError
from darkrank_jax.models import MODELS, build_model
from darkrank_jax.models.backbones import vit
from tests.marks import slow_but
from tests.models.backbones.architectures import (
    check_outputs,
    check_published,
    every_network,
    shapes,
)

# The count of parameters published by timm, torchvision or Hugging Face, what classifiers of 1000
# classes have of them, and side and channels of each map of an image of 224 pixels.
PUBLISHED = {
    "vit_t16": (5_717_416, 1000 * (192 + 1), [(14, 192), (14, 192), (1, 192)]),
    "vit_s16": (22_050_664, 1000 * (384 + 1), [(14, 384), (14, 384), (1, 384)]),
    "vit_b16": (86_567_656, 1000 * (768 + 1), [(14, 768), (14, 768), (1, 768)]),
    "vit_l16": (304_326_632, 1000 * (1024 + 1), [(14, 1024), (14, 1024), (1, 1024)]),
    # Two classifiers.
    "deit_t16": (5_910_800, 2 * 1000 * (192 + 1), [(14, 192), (14, 192), (1, 192)]),
    "deit_s16": (22_436_432, 2 * 1000 * (384 + 1), [(14, 384), (14, 384), (1, 384)]),
    "deit_b16": (87_338_192, 2 * 1000 * (768 + 1), [(14, 768), (14, 768), (1, 768)]),
    # Of images of 518 pixels, with a token for masked patches.
    "dinov2_s14": (22_056_576, (37**2 - 16**2 + 1) * 384, [(16, 384), (16, 384), (1, 384)]),
    "dinov2_b14": (86_580_480, (37**2 - 16**2 + 1) * 768, [(16, 768), (16, 768), (1, 768)]),
    "dinov2_l14": (304_368_640, (37**2 - 16**2 + 1) * 1024, [(16, 1024), (16, 1024), (1, 1024)]),
    "clip_vit_b32": (87_849_216, 0, [(7, 768), (7, 768), (1, 512)]),
    "clip_vit_b16": (86_192_640, 0, [(14, 768), (14, 768), (1, 512)]),
    "clip_vit_l14": (303_966_208, 0, [(16, 1024), (16, 1024), (1, 768)]),
    "siglip_b16": (92_884_224, 0, [(14, 768), (14, 768), (1, 768)]),
    # Of images of 256 pixels.
    "siglip_l16": (315_956_224, (16**2 - 14**2) * 1024, [(14, 1024), (14, 1024), (1, 1024)]),
}
# Take long to trace; others of their kind stay.
DEEP = {
    "clip_vit_b16",
    "clip_vit_l14",
    "deit_b16",
    "deit_t16",
    "dinov2_b14",
    "dinov2_l14",
    "siglip_l16",
    "vit_b16",
    "vit_l16",
    "vit_t16",
}


@every_network(vit, slow=DEEP)
def test_parameters_and_shapes_are_those_published(name):
    check_published(name, *PUBLISHED[name])


def test_outputs_agree_with_another_implementation(tmp_path):
    check_outputs("vit_s16", tmp_path)


# The others differ from one of these in one option.
QUICK = {"clip", "dinov2_registers", "siglip"}


@pytest.mark.parametrize("name", slow_but(QUICK, NETWORKS))
def test_outputs_agree_with_transformers_at_its_own_and_another_size(
    name, rule, golden, files, tmp_path
):
    backbone, tensors = small(name), files(name)
    forward = jax.jit(lambda v, x: backbone.apply(v, x, train=False))
    for size in SIZES:
        variables = loaded(tensors, tmp_path, backbone, size)
        maps = forward(variables, jnp.asarray(rule.images(*size)))
        assert maps[1].shape == (2, size[0] // 8, size[1] // 8, 128)
        found = np.concatenate([maps[2][:, 0, 0], maps[1].mean(axis=(1, 2))], axis=1)
        expected = golden[f"{name}/{size[0]}x{size[1]}"]
        for part in (slice(maps[2].shape[-1]), slice(maps[2].shape[-1], None)):
            scale = np.abs(expected[:, part]).max()
            np.testing.assert_allclose(found[:, part], expected[:, part], atol=1e-4 * scale)


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
        (
            "vit_s16",
            {},
            40,
            "data.image_size: must be a multiple of model.patch, 16 (got 40 x 40)",
        ),
        ("vit_s16", {"width": 100}, 32, "model.width: must be a multiple of 64 (got 100)"),
        (
            "siglip_b16",
            {"tokens": "class"},
            32,
            "model.tokens: must be 'attention' or 'patch' for a",
        ),
        ("dinov2_s14", {"registers": -1}, 28, "model.registers: must be 0 or more (got -1)"),
        ("clip_vit_b32", {"projection": -4}, 32, "model.projection: must be 0 or more (got -4)"),
    ],
)
def test_refuses_images_that_do_not_fit(name, options, side, line):
    with pytest.raises(UserError) as error:
        shapes(MODELS[name](**options), size=(side, side))
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)
