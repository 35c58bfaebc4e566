"""Which network a file of weights holds, beside other networks and tensors."""

import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from darkrank_jax.models.pretrained import detect_resnet, load_resnet, load_weights
from tests.models.resnet_files import BASIC, GOLDEN, ORIGINAL, hugging_face
from tests.models.saved_weights import refusal, same, saved


def test_of_several_networks_the_prefix_names_one(tensors, tmp_path):
    path = tmp_path / "several.safetensors"
    student = {f"student.{name}": tensor for name, tensor in tensors.items()}
    teacher = {f"teacher.{name}": np.asarray(tensor + 1) for name, tensor in tensors.items()}
    save_file({**student, **teacher, "loss.margin": np.ones(1)}, path)
    line = refusal(load_resnet, path)
    assert line.startswith(
        f"{path}: is ambiguous, since it holds several networks: 'student.' with"
    )
    assert "and 'teacher.' with torchvision's or timm's names; give the prefix of one" in line
    same(load_resnet(path, prefix="student."), load_resnet(GOLDEN / "resnet_basic.safetensors"))
    line = refusal(load_resnet, path, prefix="tutor.")
    assert f"{path}: holds no ResNet: no tensor that begins with 'tutor.' has torchvis" in line


def test_names_of_two_kinds_in_one_file_are_ambiguous(tensors, tmp_path):
    path = tmp_path / "both.safetensors"
    save_file({**tensors, **{hugging_face(name): t for name, t in tensors.items()}}, path)
    line = refusal(load_resnet, path, BASIC)
    assert "'' with Hugging Face's names and '' with torchvision's or timm's names" in line


def test_an_explicit_empty_prefix_takes_plain_names_beside_a_copy(tensors, tmp_path):
    copy = {f"ema.{name}": tensor + 1 for name, tensor in tensors.items()}
    path = saved(tensors | copy, tmp_path / "copy.safetensors")
    line = refusal(load_resnet, path)
    assert "'' with torchvision's or timm's names and 'ema.' with" in line
    assert "leave the others out by weights.ignore" in line
    for options in ({"prefix": ""}, {"ignore": ("ema.",)}):
        same(load_resnet(path, **options), load_resnet(ORIGINAL))
        assert detect_resnet(path, **options) == BASIC
    found = load_resnet(path, prefix="ema.")["batch_stats"]["bn1"]["mean"]
    np.testing.assert_array_equal(found, tensors["bn1.running_mean"] + 1)


def test_a_copy_under_the_named_prefix_is_left_out(tensors, tmp_path):
    network = {f"model.{name}": tensor for name, tensor in tensors.items()}
    copy = {f"model.ema.{name}": tensor + 1 for name, tensor in tensors.items()}
    path = saved(network | copy, tmp_path / "nested.safetensors")
    same(load_resnet(path, prefix="model."), load_resnet(ORIGINAL))


@pytest.mark.parametrize("prefix", ["", "module.", "backbone."])
@pytest.mark.parametrize(
    ("beside", "ignore"),
    [
        ({"bottleneck.weight": 64, "bottleneck.running_mean": 64}, "('bottleneck.',)"),
        ({"projector.0.weight": 7, "predictor.2.bias": 3}, "('predictor.', 'projector.')"),
        ({"queue": 5}, "('queue',)"),
    ],
)
def test_tensors_beside_a_whole_network_are_named_and_ignored(
    tensors, tmp_path, prefix, beside, ignore
):
    tensors |= {name: np.ones(size) for name, size in beside.items()}
    named = {prefix + name: tensor for name, tensor in tensors.items()}
    path = saved(named, tmp_path / "neck.safetensors")
    line = refusal(load_resnet, path)
    first = f"{prefix}{min(beside)}"
    assert line.startswith(f"{path}: holds a whole ResNet, and beside it {first}")
    assert line.endswith(f"to leave these out, set weights.ignore to {ignore}")
    given = tuple(re.findall(r"'([^']+)'", ignore))
    same(load_resnet(path, ignore=given), load_resnet(ORIGINAL))
    same(load_resnet(path, ignore=[prefix + first for first in given]), load_resnet(ORIGINAL))
    same(load_weights(path, BASIC, image_shape=(32, 32, 3), ignore=given), load_resnet(ORIGINAL))


def test_ignoring_parts_of_the_network_itself_reports_them_missing(tmp_path):
    line = refusal(load_resnet, ORIGINAL, BASIC, ignore=("layer2.0.",))
    assert f"{ORIGINAL}: is of another architecture; missing: layer2.0." in line


def test_names_in_errors_hold_no_escape_sequences(tensors, tmp_path):
    path = saved({**tensors, "a\x1b]0;b\n.c": np.ones(1)}, tmp_path / "names.safetensors")
    line = refusal(load_resnet, path)
    assert r"beside it a\x1b]0;b\x0a.c; " in line
    assert line.isprintable()


def test_a_file_without_a_resnet_says_what_it_has(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"encoder.weight": np.ones((2, 3)), "encoder.bias": np.ones(2)}, path)
    assert refusal(load_resnet, path) == (
        f"{path}: holds no ResNet: no tensor has torchvision's or timm's or Hugging Face's names; "
        "it has encoder.bias, encoder.weight"
    )
