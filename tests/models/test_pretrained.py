from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from darkrank_jax.errors import UserError
from darkrank_jax.models.pretrained import load_resnet
from darkrank_jax.models.resnet import ResNet

GOLDEN = Path(__file__).parent.parent / "golden"
BASIC = ResNet((2, 2, 2, 2), False, width=8)
BOTTLENECK = ResNet((3, 4, 2, 2), True, width=8)


@pytest.fixture
def tensors():
    return load_file(GOLDEN / "resnet_basic.safetensors")


@pytest.mark.parametrize(
    ("name", "backbone"), [("resnet_basic", BASIC), ("resnet_bottleneck", BOTTLENECK)]
)
def test_every_stage_agrees_with_another_implementation(name, backbone):
    golden = np.load(GOLDEN / f"{name}.npz")
    variables = load_resnet(GOLDEN / f"{name}.safetensors", backbone)
    maps = backbone.apply(variables, jnp.asarray(golden["images_nhwc"]), train=False)
    assert len(maps) == 5
    for stage, found in enumerate(maps):
        expected = golden[f"stage_{stage}"]
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(maps[-1].mean(axis=(1, 2)), golden["pooled"], rtol=1e-4, atol=1e-4)


def test_half_precision_weights_come_in_as_float32(tensors, tmp_path):
    path = tmp_path / "half.safetensors"
    save_file({name: tensor.astype(np.float16) for name, tensor in tensors.items()}, path)
    kernel = load_resnet(path, BASIC)["params"]["conv1"]["kernel"]
    assert kernel.dtype == np.float32
    expected = tensors["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_allclose(kernel, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda t: t.pop("layer2.0.downsample.0.weight"), "missing: layer2.0.downsample.0.weight;"),
        (lambda t: t.update(head=t["bn1.bias"]), "surplus: head;"),
        (
            lambda t: t.update({"conv1.weight": t["conv1.weight"][:, :1].copy()}),
            "of another shape: conv1.weight is (7, 7, 1, 8), not (7, 7, 3, 8);",
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


@pytest.mark.parametrize("content", [None, b"", b"\x80\x04no safetensors"])
def test_what_is_no_safetensors_file_is_refused(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        load_resnet(path, BASIC)
