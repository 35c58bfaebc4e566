"""What a file of weights is, folders of repositories, and the settings beside weights."""

import re

import pytest
from transformer_files import (
    NETWORKS,
    meta_of_dinov2,
    openai_of_clip,
    timm_of_clip,
    timm_of_model,
    timm_of_siglip,
    torchvision_of_vit,
    trunk,
    with_text,
)

from darkrank_jax.models.weights.description import describe_weights
from tests.models.saved_weights import saved


@pytest.mark.parametrize(
    ("name", "rename", "owner", "prefix"),
    [
        *((name, dict, "Hugging Face's", "") for name in NETWORKS),
        ("vit", timm_of_model, "timm's", ""),
        ("vit", torchvision_of_vit, "torchvision's", ""),
        ("dinov2_registers", meta_of_dinov2, "Meta's", ""),
        ("clip", openai_of_clip, "open_clip's", ""),
        ("clip", timm_of_clip, "timm's", ""),
        ("clip", with_text, "Hugging Face's", ""),
        ("siglip", lambda tensors: trunk(timm_of_siglip(tensors)), "timm's", "visual.trunk."),
        ("siglip", with_text, "Hugging Face's", ""),
    ],
)
def test_a_transformer_is_told_from_its_file(name, rename, owner, prefix, files, tmp_path):
    path = saved(rename(files(name)), tmp_path / "weights.safetensors")
    found = describe_weights(path)
    model, options = NETWORKS[name]
    assert found["model"].startswith(re.match(r"[a-z]+2?_", model)[0])
    expected = {"width": 128, "depth": 2, "patch": 8, **options}
    # It is not in the file.
    expected.pop("activation", None)
    assert found["options"] == expected
    assert (found["names"], found["prefix"], found["grid"]) == (owner, prefix, (4, 4))
