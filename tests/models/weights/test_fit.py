"""Files that do not fit a network are refused with what differs."""

import numpy as np
import pytest
from safetensors.numpy import save_file
from transformer_files import loaded, openai_of_clip, small, timm_of_model, with_text

from darkrank_jax.errors import UserError
from darkrank_jax.models.backbones.resnet import ResNet
from darkrank_jax.models.pretrained import detect_resnet, load_resnet
from tests.models.resnet_files import BASIC, GOLDEN
from tests.models.saved_weights import refusal, same


def test_a_deeper_file_and_a_shallower_one_are_refused(files, tmp_path):
    for name, rename in (("vit", timm_of_model), ("clip", openai_of_clip), ("siglip", with_text)):
        tensors = {k: np.asarray(v) for k, v in rename(files(name)).items()}
        for depth, fault in ((1, "surplus"), (3, "missing")):
            with pytest.raises(
                UserError, match=rf"is of another architecture; {fault}: .*\.{min(depth, 2)}\."
            ) as error:
                loaded(tensors, tmp_path, small(name).clone(depth=depth))
            assert "\n" not in str(error.value)


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
