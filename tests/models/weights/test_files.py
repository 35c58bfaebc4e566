"""Files of weights: types that are read, and damaged files, which are refused in one line."""

import json
import struct

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import flax, safe_open
from safetensors.numpy import save_file
from transformer_files import loaded, small

from darkrank_jax.errors import UserError
from darkrank_jax.models.pretrained import detect_resnet, load_linear, load_resnet, load_weights
from darkrank_jax.models.weights import files
from tests.models.resnet_files import BASIC, ORIGINAL
from tests.models.saved_weights import refusal, same, saved, sharded


def outcome(function, *arguments):
    """The line of a refusal, or nothing."""
    try:
        function(*arguments)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("suffix", ["pth", "pt", "bin", "ckpt", "pkl"])
def test_pickles_are_refused_unopened(tmp_path, suffix):
    path = tmp_path / f"weights.{suffix}"
    line = refusal(load_resnet, path, BASIC)
    assert line == (
        f"{path}: is a pickle, which can run any code and is not opened; docs/pretrained.md turns "
        "it into safetensors"
    )


def test_bfloat16_weights_come_in_as_float32(tensors, tmp_path):
    path = tmp_path / "bfloat16.safetensors"
    flax.save_file({name: jnp.asarray(t, jnp.bfloat16) for name, t in tensors.items()}, path)
    kernel = load_resnet(path)["params"]["conv1"]["kernel"]
    assert kernel.dtype == np.float32
    expected = tensors["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_allclose(kernel, expected, rtol=1e-2, atol=1e-6)


def test_half_precision_weights_come_in_as_float32(tensors, tmp_path):
    path = tmp_path / "half.safetensors"
    save_file({name: tensor.astype(np.float16) for name, tensor in tensors.items()}, path)
    kernel = load_resnet(path, BASIC)["params"]["conv1"]["kernel"]
    assert kernel.dtype == np.float32
    expected = tensors["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_allclose(kernel, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "shown"), [("int8", "I8"), ("uint8", "U8"), ("int64", "I64"), ("bool", "BOOL")]
)
def test_weights_of_integers_are_refused(tensors, tmp_path, dtype, shown):
    for name in ("conv1.weight", "layer1.0.conv1.weight"):
        tensors[name] = np.rint(100 * tensors[name]).astype(dtype)
    path = saved(tensors, tmp_path / "integers.safetensors")
    assert refusal(load_resnet, path).startswith(
        f"{path}: weights must be float16, bfloat16, float32 or float64 (got {shown} in "
        "conv1.weight, layer1.0.conv1.weight); convert them"
    )


def test_integers_in_tensors_that_are_not_read_do_no_harm(tensors, tmp_path):
    tensors |= {"fc.weight": np.ones((2, 64), np.int8), "steps": np.ones((), np.int64)}
    path = saved(tensors, tmp_path / "counts.safetensors")
    same(load_resnet(path, ignore=("steps",)), load_resnet(ORIGINAL))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["conv1.weight", "layer3.1.bn2.running_var", "bn1.bias"])
def test_weights_that_are_not_finite_are_refused(tensors, tmp_path, value, name):
    tensors[name].ravel()[-1] = value
    path = saved(tensors, tmp_path / "diverged.safetensors")
    assert refusal(load_resnet, path).startswith(
        f"{path}: weights must be finite (got NaN or infinity in {name}); give a file"
    )


def test_doubles_are_rounded_and_those_beyond_float32_refused(tensors, tmp_path):
    doubles = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    path = saved(doubles, tmp_path / "doubles.safetensors")
    same(load_resnet(path), load_resnet(ORIGINAL))
    doubles["bn1.weight"][2] = 1e300
    assert "(got NaN or infinity in bn1.weight)" in refusal(load_resnet, saved(doubles, path))


def of_header(header, values=b"", size=None):
    """A file with a header as it is given, and the size that it claims."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + values


def entry(dtype, shape, start, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


DAMAGED = {
    "missing": None,
    "empty": b"",
    "pickle": b"\x80\x04no safetensors",
    "no header": of_header(b""),
    "header of a terabyte": of_header(b"{}", size=10**12),
    "header of 2^63 bytes": of_header(b"{}", size=2**63),
    "list": of_header(b"[1]"),
    "half JSON": of_header(b'{"conv1'),
    "not UTF-8": of_header(b"\xff\xfe{}"),
    "overlap": of_header({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 2, 6)}, b"123456"),
    "gap": of_header({"a": entry("F32", [1], 4, 8)}, bytes(8)),
    "cut": of_header({"a": entry("F32", [2], 0, 8)}, bytes(4)),
    "surplus bytes": of_header({"a": entry("F32", [1], 0, 4)}, bytes(8)),
    "exabytes": of_header({"a": entry("F32", [2**40, 2**40], 0, 4)}, bytes(4)),
    "negative": of_header({"a": entry("F32", [-2], 0, 8)}, bytes(8)),
    "unknown type": of_header({"a": entry("F31\n", [1], 0, 4)}, bytes(4)),
}


@pytest.mark.parametrize("state", DAMAGED)
def test_damaged_files_are_refused_in_one_line(tmp_path, state):
    path = tmp_path / "weights.safetensors"
    if DAMAGED[state] is not None:
        path.write_bytes(DAMAGED[state])
    for function, *arguments in ((load_resnet, BASIC), (detect_resnet,), (load_linear, "fc")):
        line = refusal(function, path, *arguments)
        assert line.startswith(f"{path}: cannot be read as safetensors (")
        assert line.isprintable()


def test_every_cut_of_a_file_is_refused_in_one_line(tmp_path):
    whole, path = ORIGINAL.read_bytes(), tmp_path / "cut.safetensors"
    for length in np.linspace(0, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:length])
        assert "cannot be read as safetensors" in refusal(load_resnet, path)


def test_a_garbled_header_never_ends_in_a_traceback(tmp_path):
    whole, path = bytearray(ORIGINAL.read_bytes()), tmp_path / "garbled.safetensors"
    size, rng = struct.unpack("<Q", whole[:8])[0], np.random.default_rng(5)
    for place in rng.integers(8, 8 + size, 150):
        garbled = bytearray(whole)
        garbled[place] = rng.integers(256)
        path.write_bytes(garbled)
        assert outcome(load_resnet, path, BASIC).isprintable()


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F8_E8M0"])
def test_float8_is_refused_by_name(tmp_path, dtype):
    path = tmp_path / "float8.safetensors"
    path.write_bytes(of_header({"fc.weight": entry(dtype, [2, 3], 0, 6)}, bytes(6)))
    assert f"(got {dtype} in fc.weight); convert" in refusal(load_linear, path, "fc")


def test_tensors_of_any_number_of_axes_are_refused_by_shape(tmp_path):
    path = tmp_path / "axes.safetensors"
    path.write_bytes(of_header({"conv1.weight": entry("F32", [1] * 200, 0, 4)}, bytes(4)))
    line = refusal(load_resnet, path, BASIC)
    assert "is of another architecture; missing:" in line


def test_a_folder_is_refused(tmp_path):
    assert refusal(load_resnet, tmp_path) == (
        f"{tmp_path}: is a folder without model.safetensors; give the .safetensors file in it"
    )


def test_only_the_networks_own_tensors_are_read(tensors, tmp_path, monkeypatch):
    read = []

    class Counting:
        def __init__(self, *arguments, **options):
            self.file = safe_open(*arguments, **options)

        def __enter__(self):
            self.file.__enter__()
            return self

        def __exit__(self, *error):
            return self.file.__exit__(*error)

        def __getattr__(self, name):
            return getattr(self.file, name)

        def get_tensor(self, name):
            read.append(name)
            return self.file.get_tensor(name)

    others = {"optimizer.step": np.ones(9), "fc.weight": np.ones((4, 64))}
    path = saved(tensors | others, tmp_path / "more.safetensors")
    monkeypatch.setattr(files, "safe_open", Counting)
    load_resnet(path, ignore=("optimizer.",))
    own = (name for name in tensors if not name.endswith("num_batches_tracked"))
    assert sorted(read) == sorted(name for name in own if not name.startswith("fc."))


@pytest.mark.parametrize("form", ["model.safetensors", "open_clip_model.safetensors", "index"])
def test_a_folder_of_a_repository_is_a_path(form, files, tmp_path):
    tensors, backbone = files("vit"), small("vit")
    expected = loaded(tensors, tmp_path, backbone)
    folder = tmp_path / "repository"
    folder.mkdir()
    paths = [folder]
    if form == "index":
        paths.append(sharded(tensors, folder))
    else:
        saved(tensors, folder / form)
    for path in paths:
        same(load_weights(path, backbone, image_shape=(32, 32, 3)), expected)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("{", "is damaged"),
        ("[]", "must list files of its folder in weight_map"),
        ('{"weight_map": {}}', "must list files of its folder in weight_map"),
        ('{"weight_map": {"a": "../a.safetensors"}}', "must list files of its folder"),
        ('{"weight_map": {"a": null}}', "None: cannot be read as safetensors"),
    ],
)
def test_damaged_indices_are_refused_in_one_line(content, line, tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(UserError) as error:
        load_weights(tmp_path, small("vit"), image_shape=(32, 32, 3))
    assert line in str(error.value)
    assert "\n" not in str(error.value)
