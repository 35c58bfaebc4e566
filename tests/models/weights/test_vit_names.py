"""Names of a vision transformer's variables in other projects."""

import numpy as np
import pytest
from transformer_files import (
    RENAMINGS,
    loaded,
    openai_of_clip,
    small,
    timm_of_clip,
    timm_of_model,
    with_text,
)

from tests.models.saved_weights import same


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
