"""Vision transformers against Hugging Face's, under every project's names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transformer_files import (
    CONVNEXTS,
    NETWORKS,
    RENAMINGS,
    SIZES,
    files,
    golden,
    loaded,
    openai_of_clip,
    rule,
    same,
    small,
    timm_of_clip,
    timm_of_model,
    with_text,
)

from darkrank_jax.errors import UserError
from darkrank_jax.models.positions import find_layout, fit_positions

__all__ = ["files", "golden", "rule"]


@pytest.mark.parametrize("name", NETWORKS)
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


@pytest.mark.parametrize("name", CONVNEXTS)
def test_convnexts_agree_with_transformers_at_two_sizes(name, rule, golden, files, tmp_path):
    backbone = small(name)
    variables = loaded(files(name), tmp_path, backbone)
    forward = jax.jit(lambda v, x: backbone.apply(v, x, train=False)[-1])
    for size in SIZES:
        last = forward(variables, jnp.asarray(rule.images(*size)))
        found = np.concatenate([last.mean(axis=(1, 2)), last.max(axis=(1, 2))], axis=1)
        expected = golden[f"{name}/{size[0]}x{size[1]}"]
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("name", "rename"), RENAMINGS)
def test_names_of_other_projects_give_equal_variables(name, rename, files, tmp_path):
    tensors, backbone = files(name), small(name)
    other = {
        k: np.asarray(v, v.dtype if v.dtype == int else np.float32)
        for k, v in rename(tensors).items()
    }
    assert other.keys() != tensors.keys()
    same(loaded(other, tmp_path, backbone), loaded(tensors, tmp_path, backbone))


@pytest.mark.parametrize("rename", [openai_of_clip, timm_of_clip, with_text])
def test_a_tower_without_its_projection_gives_the_token(rename, files, tmp_path):
    tensors, backbone = files("clip"), small("clip").clone(projection=0)
    found = loaded({k: np.asarray(v) for k, v in rename(tensors).items()}, tmp_path, backbone)
    whole = loaded(tensors, tmp_path, small("clip"))
    assert whole["params"].pop("head")["kernel"].shape == (128, 96)
    same(found, whole)


def test_position_embeddings_without_the_class_token_leave_it_as_it_is(files, tmp_path):
    """timm adds the class token's to the token itself where there are registers."""
    tensors, backbone = timm_of_model(files("dinov2_registers")), small("dinov2_registers")
    whole = loaded(tensors, tmp_path, backbone)["params"]
    positions = tensors["pos_embed"]
    tensors["cls_token"] = tensors["cls_token"] + positions[:, :1]
    tensors["pos_embed"] = positions[:, 1:]
    found = loaded(tensors, tmp_path, backbone)["params"]
    np.testing.assert_array_equal(found["pos_embed"][:, 0], 0)
    np.testing.assert_array_equal(found["pos_embed"][:, 1:], whole["pos_embed"][:, 1:])
    np.testing.assert_array_equal(
        found["cls_token"][:, 0], whole["cls_token"][:, 0] + whole["pos_embed"][:, 0]
    )


def test_a_deeper_file_and_a_shallower_one_are_refused(files, tmp_path):
    for name, rename in (("vit", timm_of_model), ("clip", openai_of_clip), ("siglip", with_text)):
        tensors = {k: np.asarray(v) for k, v in rename(files(name)).items()}
        for depth, fault in ((1, "surplus"), (3, "missing")):
            with pytest.raises(
                UserError, match=rf"is of another architecture; {fault}: .*\.{min(depth, 2)}\."
            ) as error:
                loaded(tensors, tmp_path, small(name).clone(depth=depth))
            assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("count", "leading", "grid", "known", "layout"),
    [
        (17, 1, (4, 4), None, (1, (4, 4))),
        (17, 1, (6, 3), None, (1, (4, 4))),
        (16, 1, (6, 3), None, (0, (4, 4))),
        (18, 2, (6, 3), None, (2, (4, 4))),
        (16, 0, (6, 3), None, (0, (4, 4))),
        (19, 1, (6, 3), None, (1, (6, 3))),
        (18, 1, (6, 3), None, (0, (6, 3))),
        (19, 1, (4, 4), None, None),
        (19, 1, (4, 4), (9, 2), (1, (9, 2))),
        (17, 1, (8, 2), None, None),
        (17, 1, (8, 2), (8, 2), (1, (8, 2))),
        (17, 1, (8, 2), (4, 4), (1, (4, 4))),
        (17, 1, (4, 4), (5, 3), None),
        (1, 1, (1, 1), None, None),
        (2, 2, (1, 1), None, None),
    ],
)
def test_layout_of_position_embeddings_is_told_or_left_open(count, leading, grid, known, layout):
    assert find_layout(count, leading, grid, known) == layout


@pytest.mark.parametrize("method", ["bicubic", "bicubic_antialias", "bilinear_antialias"])
def test_resizing_keeps_constants_and_turns_with_the_grid(method):
    rng = np.random.default_rng(5)
    positions = rng.normal(size=(1, 2 + 5 * 7, 3)).astype(np.float32)
    layout = find_layout(37, 2, (3, 11), (5, 7))
    found = fit_positions(positions, layout, 2, (3, 11), method)
    turned = positions[:, 2:].reshape(5, 7, 3).transpose(1, 0, 2).reshape(1, 35, 3)
    turned = np.concatenate([positions[:, :2], turned], axis=1)
    other = fit_positions(turned, layout._replace(grid=(7, 5)), 2, (11, 3), method)
    np.testing.assert_allclose(
        found[0, 2:].reshape(3, 11, 3), other[0, 2:].reshape(11, 3, 3).transpose(1, 0, 2), atol=1e-6
    )
    np.testing.assert_array_equal(found[:, :2], positions[:, :2])
    constant = fit_positions(np.ones_like(positions), layout, 2, (3, 11), method)
    np.testing.assert_allclose(constant, 1, rtol=1e-6)
