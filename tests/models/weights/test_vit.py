"""What the weights of a vision transformer need beyond names and shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from transformer_files import loaded, small

from darkrank_jax.errors import UserError
from darkrank_jax.models.backbones.vit import ViT
from darkrank_jax.models.pretrained import load_weights
from tests.models.saved_weights import refusal, saved


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


def test_another_activation_than_the_settings_have_is_refused(files, tmp_path):
    (tmp_path / "config.json").write_text('{"vision_config": {"hidden_act": "gelu"}}')
    tensors = files("clip")
    with pytest.raises(UserError, match=r"^model.activation: must be 'gelu' for .*quick_gelu"):
        loaded(tensors, tmp_path, small("clip"))
    loaded(tensors, tmp_path, small("clip").clone(activation="gelu"))


def test_settings_tell_a_grid_that_is_not_square(files, tmp_path):
    tensors, backbone = files("siglip"), small("siglip")
    (tmp_path / "config.json").write_text('{"image_size": [64, 16]}')
    positions = tensors["embeddings.position_embedding.weight"]
    found = loaded(tensors, tmp_path, backbone, size=(64, 16))["params"]["pos_embed"]
    np.testing.assert_array_equal(found[0], positions)
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match=r"must be of a square of patches .* 8 x 2 \(got 16"):
        loaded(tensors, tmp_path, backbone, size=(64, 16))
